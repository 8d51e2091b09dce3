"""What targets with agents share: how a step is put into force, measured, watched, healed, and proved healed."""
