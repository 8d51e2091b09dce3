"""Error rates of the fidelity checks, by simulation, and every check saying no."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from chaos import fidelity, tolerances
from chaos.fidelity import Flow
from chaos.model import Burst, Cut, Freeze, Impairment, Measurement, Power, Proof, Shape, Signal

CHANCE = np.random.default_rng(7)


def flow(delays_ms=(), *, sent=None, received=None, **more) -> Flow:
    delays = np.sort(np.asarray(delays_ms, dtype=float))
    received = len(delays) if received is None else received
    return Flow(source="a", sink="b", sent=sent or received, received=received, delays_ms=delays, **more)


def noisy(n: int, shift_ms: float = 0.0) -> np.ndarray:
    """A busy machine's path: 0.05 ms and an exponential tail, now and then a stall."""
    return shift_ms + 0.05 + CHANCE.exponential(0.05, n) + (CHANCE.random(n) < 0.02) * CHANCE.exponential(5.0, n)


def delay_proofs(true_ms: float, rounds: int, n: int = 120) -> np.ndarray:
    return np.array(
        [
            fidelity.judge_delay("a→b", 50.0, np.sort(noisy(100)), np.sort(noisy(n, true_ms))).proof
            for _ in range(rounds)
        ]
    )


def test_a_sound_delay_of_50_ms_is_confirmed_and_never_a_mismatch():
    proofs = delay_proofs(50.0, 1500)
    assert (proofs == Proof.CONFIRMED).mean() > 0.99
    assert not (proofs == Proof.MISMATCH).any()


@pytest.mark.parametrize("true_ms", [25.0, 100.0])
def test_half_or_double_of_50_ms_is_found(true_ms):
    assert (delay_proofs(true_ms, 400) == Proof.MISMATCH).mean() >= 0.99


@settings(deadline=None)
@given(st.floats(0.0005, 1.0), st.integers(1, 50_000))
def test_accepted_counts_are_the_binomial_s_quantiles(share, n):
    tail = tolerances.FALSE_MISMATCH / 2
    quantiles = stats.binom.ppf(tail, n, share), stats.binom.isf(tail, n, share)
    assert tolerances.accepted_counts(share, n) == quantiles


def loss_mismatch_share(true: float, rounds: int) -> float:
    n = fidelity.needed(Shape(impairment=Impairment(loss=0.05))).packets
    least, most = tolerances.accepted_counts(0.05, n)
    counts = CHANCE.binomial(n, true, rounds)
    return float(((counts < least) | (counts > most)).mean())


def test_a_sound_loss_of_5_percent_is_a_mismatch_at_most_once_in_10_000():
    assert loss_mismatch_share(0.05, 2_000_000) <= tolerances.FALSE_MISMATCH


@pytest.mark.parametrize("true", [0.025, 0.10])
def test_half_or_double_of_5_percent_loss_is_found(true):
    assert loss_mismatch_share(true, 200_000) >= tolerances.POWER


@settings(deadline=None, max_examples=40)  # a busy machine, and an answer that is cached
@given(st.floats(0.01, 0.9))
def test_the_packets_asked_for_keep_both_error_rates(share):
    n = tolerances.packets_for_share(share)
    least, most = tolerances.accepted_counts(share, n)
    false = stats.binom.cdf(least - 1, n, share) + stats.binom.sf(most, n, share)
    assert false <= tolerances.FALSE_MISMATCH
    assert tolerances.power(share, n) >= tolerances.POWER


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 3000), st.floats(0.02, 0.5))
def test_a_share_is_confirmed_or_a_mismatch_only_with_enough_packets(count, share):
    n = tolerances.packets_for_share(share)
    judged = fidelity.judge_share("loss", "a→b", share, min(count, n), n)
    assert judged.proof is not Proof.INCONCLUSIVE
    few = fidelity.judge_share("loss", "a→b", share, round(share * (n // 2)), n // 2)
    assert few.proof is Proof.INCONCLUSIVE
    assert str(n) in few.why


def test_a_few_delays_are_inconclusive_and_say_how_many_it_takes():
    judged = fidelity.judge_delay("a→b", 50.0, np.sort(noisy(100)), np.sort(noisy(5, 50.0)))
    assert judged.proof is Proof.INCONCLUSIVE
    assert "120" in judged.why


def test_a_delay_below_the_noise_of_the_path_is_never_confirmed_by_luck():
    bare, got = CHANCE.exponential(20.0, 100), CHANCE.exponential(20.0, 120) + 1.0
    assert fidelity.judge_delay("a→b", 1.0, np.sort(bare), np.sort(got)).proof is Proof.INCONCLUSIVE


@pytest.mark.parametrize("distribution", ["uniform", "normal", "pareto"])
def test_jitter_as_asked_is_confirmed_and_none_at_all_is_a_mismatch(distribution):
    asked = Impairment(delay_s=0.05, jitter_s=0.01, distribution=distribution)
    n = fidelity.needed(Shape(impairment=asked)).packets
    draws = CHANCE.choice(tolerances.asked_delays_ms((asked,)), n)
    sound = fidelity.judge_shaped((asked,), flow(noisy(100)), flow(draws + noisy(n)))
    assert fidelity.proof(sound) is Proof.CONFIRMED
    flat = fidelity.judge_shaped((asked,), flow(noisy(100)), flow(noisy(n, 50.0)))
    assert next(m for m in flat if m.name.startswith("jitter")).proof is Proof.MISMATCH


@pytest.mark.parametrize("distribution", ["uniform", "normal", "pareto"])
@pytest.mark.parametrize(("factor", "proof"), [(1.0, Proof.CONFIRMED), (0.5, Proof.MISMATCH), (2.0, Proof.MISMATCH)])
def test_half_or_double_the_jitter_is_found_in_every_distribution(distribution, factor, proof):
    asked = Impairment(delay_s=0.05, jitter_s=0.01, distribution=distribution)
    true = tolerances.asked_delays_ms((Impairment(delay_s=0.05, jitter_s=0.01 * factor, distribution=distribution),))
    n = fidelity.needed(Shape(impairment=asked)).packets
    want = tolerances.asked_delays_ms((asked,))
    proofs = [
        fidelity.judge_jitter("a→b", want, np.sort(noisy(100)), np.sort(CHANCE.choice(true, n) + noisy(n))).proof
        for _ in range(200)
    ]
    assert proofs.count(proof) >= 0.99 * len(proofs)


def test_two_delays_on_one_path_add_up():
    asked = (Impairment(delay_s=0.02), Impairment(delay_s=0.03))
    judged = fidelity.judge_shaped(asked, flow(noisy(100)), flow(noisy(120, 50.0)))
    assert fidelity.proof(judged) is Proof.CONFIRMED
    assert judged[0].asked == pytest.approx(50.0)


@pytest.mark.parametrize(
    ("setting", "more"),
    [
        (Impairment(duplicate=0.2), {"copies": 200}),
        (Impairment(corrupt=0.2), {"received": 800, "corrupt": 190}),
        (Impairment(loss=0.2), {"received": 800}),
    ],
)
def test_shares_are_confirmed_as_asked_and_a_mismatch_when_nothing_happens(setting, more):
    bare = flow(noisy(100))
    sound = flow(noisy(more.get("received", 1000)), sent=1000, **more)
    assert fidelity.proof(fidelity.judge_shaped((setting,), bare, sound)) is Proof.CONFIRMED
    assert fidelity.proof(fidelity.judge_shaped((setting,), bare, flow(noisy(1000)))) is Proof.MISMATCH


def test_packets_sent_ahead_are_counted_as_reordered_and_the_others_as_delayed():
    asked = Impairment(delay_s=0.02, reorder=0.25)
    got = flow(np.concatenate([noisy(250), noisy(750, 20.0)]))
    assert fidelity.proof(fidelity.judge_shaped((asked,), flow(noisy(100)), got)) is Proof.CONFIRMED
    none = fidelity.judge_shaped((asked,), flow(noisy(100)), flow(noisy(1000, 20.0)))
    assert fidelity.proof(none) is Proof.MISMATCH


def test_burst_loss_needs_more_packets_than_independent_loss_of_the_same_share():
    burst = Burst(enter=0.02, leave=0.2)
    share = tolerances.asked_loss(Impairment(burst=burst))
    assert share == pytest.approx(0.0909, abs=1e-3)
    bursty = fidelity.needed(Shape(impairment=Impairment(burst=burst)))
    plain = fidelity.needed(Shape(impairment=Impairment(loss=share)))
    assert bursty.packets > 5 * plain.packets


def gilbert_elliott(n: int, burst: Burst) -> int:
    bad, lost = False, 0
    for draw in CHANCE.random(n):
        bad = draw >= burst.leave if bad else draw < burst.enter
        lost += bad
    return lost


def test_sound_burst_loss_is_not_called_a_mismatch_and_half_of_it_is():
    asked = Impairment(burst=Burst(enter=0.05, leave=0.25))
    half = Burst(enter=0.0227, leave=0.25)
    n = fidelity.needed(Shape(impairment=asked)).packets
    share, inflation = tolerances.asked_loss(asked), tolerances.inflation_of(asked.burst)

    def proofs(burst, rounds):
        return [
            fidelity.judge_share("loss", "a→b", share, gilbert_elliott(n, burst), n, inflation).proof
            for _ in range(rounds)
        ]

    assert Proof.MISMATCH not in proofs(asked.burst, 60)
    assert proofs(half, 60).count(Proof.MISMATCH) >= 58


def test_a_rate_is_judged_by_the_fastest_trains():
    asked = (Impairment(rate_bit_s=10e6),)
    bare = flow(noisy(100))
    sound = flow(noisy(100), train_bit_s=(4e6, 9.9e6, 10e6, 10.1e6, 10.1e6))
    assert fidelity.proof(fidelity.judge_shaped(asked, bare, sound)) is Proof.CONFIRMED
    free = flow(noisy(100), train_bit_s=(4e8, 9e8, 9e8, 9e8))
    assert fidelity.proof(fidelity.judge_shaped(asked, bare, free)) is Proof.MISMATCH
    assert fidelity.judge_rate(sound, 1e9).proof is Proof.INCONCLUSIVE


def test_a_cut_that_lets_one_packet_pass_is_a_mismatch():
    assert fidelity.judge_cut(flow(sent=60, received=0)).proof is Proof.CONFIRMED
    assert fidelity.judge_cut(flow(noisy(1), sent=60)).proof is Proof.MISMATCH
    assert fidelity.judge_cut(flow(sent=10, received=0)).proof is Proof.INCONCLUSIVE


def test_a_busy_processors_milliseconds_are_no_delay_where_none_was_asked_for():
    bare, busy, delayed = flow(noisy(100)), flow(noisy(120, 6.0)), flow(noisy(120, 50.0))
    assert fidelity.judge_spared(bare, busy, 0.0)[0].proof is Proof.CONFIRMED
    assert fidelity.judge_spared(bare, busy, 5.0)[0].proof is Proof.MISMATCH
    assert fidelity.judge_spared(bare, delayed, 0.0)[0].proof is Proof.MISMATCH


def test_a_spared_path_that_slows_down_or_loses_is_a_mismatch():
    bare = flow(noisy(100))
    assert fidelity.proof([*fidelity.judge_spared(bare, flow(noisy(120)), 50.0, "hurt")]) is Proof.CONFIRMED
    slow, losing = flow(noisy(120, 50.0)), flow(noisy(100), sent=120)
    assert fidelity.judge_spared(bare, slow, 50.0)[0].proof is Proof.MISMATCH
    assert fidelity.judge_spared(bare, losing, 50.0)[1].proof is Proof.MISMATCH


def test_a_proof_is_as_weak_as_its_weakest_measurement():
    yes = fidelity.check("port refused", holds=True)
    assert fidelity.proof([yes]) is Proof.CONFIRMED
    assert fidelity.proof([]) is Proof.INCONCLUSIVE
    assert fidelity.proof([yes, fidelity.check("ended", holds=None)]) is Proof.INCONCLUSIVE
    assert fidelity.proof([yes, fidelity.check("ended", holds=False)]) is Proof.MISMATCH
    assert fidelity.proof([fidelity.check("others fine", holds=True, path="spared")]) is Proof.INCONCLUSIVE


def test_a_watch_keeps_a_mismatch_and_lets_doubt_pass():
    doubt = Measurement(name="loss", unit="%", asked=5, got=4, n=20, why="too few")
    contradiction = Measurement(name="loss", unit="%", asked=5, got=40, n=20, proof=Proof.MISMATCH)
    unseen = Measurement(name="loss", unit="%", asked=5, got=None)
    assert [m.proof for m in fidelity.undoubted([doubt, contradiction, unseen])] == [
        Proof.CONFIRMED,
        Proof.MISMATCH,
        Proof.INCONCLUSIVE,
    ]


@pytest.mark.parametrize(
    "action", [Shape(impairment=Impairment(delay_s=0.05)), Cut(peers=("b",)), Signal(), Freeze(), Power()]
)
def test_every_action_says_what_its_confirmation_takes(action):
    need = fidelity.needed(action)
    assert need.packets > 0
    assert 0 < need.seconds < 5


def test_a_small_loss_needs_a_longer_step_than_a_great_one():
    small = fidelity.needed(Shape(impairment=Impairment(loss=0.01)))
    great = fidelity.needed(Shape(impairment=Impairment(loss=0.3)))
    assert small.seconds > 5 > great.seconds


@pytest.mark.parametrize("action", [Cut(peers=("b",)), Power()])
def test_judge_knows_what_each_action_does_to_packets(action):
    assert fidelity.judge(action, flow(noisy(100)), flow(sent=60, received=0))[0].proof is Proof.CONFIRMED


@pytest.mark.parametrize("setting", [Impairment(loss=0.2), Impairment(delay_s=0.05), Impairment(corrupt=0.2)])
def test_packets_that_never_left_are_not_what_a_shape_lost(setting):
    shift_ms = 1e3 * setting.delay_s
    hit = 200 if not setting.delay_s else 0
    corrupt = hit if setting.corrupt else 0
    sound = flow(noisy(1000 - hit, shift_ms), sent=1000, corrupt=corrupt)
    some_refused = flow(noisy(1000 - hit, shift_ms), sent=1300, refused=300, corrupt=corrupt)
    bare = flow(noisy(100))
    assert fidelity.proof(fidelity.judge_shaped((setting,), bare, sound)) is Proof.CONFIRMED
    assert fidelity.proof(fidelity.judge_shaped((setting,), bare, some_refused)) is Proof.CONFIRMED


@pytest.mark.parametrize("setting", [Impairment(loss=0.2), Impairment(loss=1.0), Impairment(corrupt=0.2)])
def test_refused_packets_alone_prove_no_shape(setting):
    got = flow(noisy(0), sent=1000, refused=1000)
    (judged,) = fidelity.judge_shaped((setting,), flow(noisy(100)), got)
    assert judged.proof is Proof.INCONCLUSIVE
    assert "1000 of 1000 packets never left" in judged.why
    none_lost = flow(noisy(800), sent=1000, refused=200)
    assert fidelity.proof(fidelity.judge_shaped((setting,), flow(noisy(100)), none_lost)) is Proof.MISMATCH


def test_a_spared_path_whose_sender_is_refused_is_a_mismatch():
    judged = fidelity.judge_spared(flow(noisy(100)), flow(noisy(0), sent=120, refused=120), 50.0)
    assert fidelity.proof(judged) is Proof.MISMATCH
