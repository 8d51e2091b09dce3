// What is drawn by hand on a chart: faults as hatched bands behind the curves, limits above them, lanes of nodes.
// Each kind of step has a hue and a hatching of its own, so that none is told by colour alone.
function drawing(data) {
  "use strict";
  const PIXELS = () => window.devicePixelRatio || 1;
  const STEP_HUES = ["#76839b", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#a0522d"];

  // ------------------------------------------------------------ numbers and colours

  const seconds = (v) => (v == null ? "–" : `${v.toFixed(2)} s`);
  const rate = (v) => (v == null ? "–" : `${Math.round(v).toLocaleString("en")}/s`);
  const short = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
  const tint = (hue, alpha) => hue + Math.round(alpha * 255).toString(16).padStart(2, "0");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  function ms(v) {
    if (v == null) return "–";
    return v >= 1000 ? `${+(v / 1000).toPrecision(3)} s` : `${+v.toPrecision(3)} ms`;
  }

  // A tile of lines, dots or a grid, so that bands differ without colour.
  function hatched(hue, kind, alpha) {
    const scale = PIXELS(), side = 8 * scale, tile = document.createElement("canvas");
    tile.width = tile.height = side;
    const pen = tile.getContext("2d");
    pen.fillStyle = tint(hue, alpha * 0.5);
    pen.fillRect(0, 0, side, side);
    pen.strokeStyle = pen.fillStyle = tint(hue, Math.min(1, alpha * 2.6));
    pen.lineWidth = 1.3 * scale;
    const line = (x1, y1, x2, y2) => { pen.beginPath(); pen.moveTo(x1, y1); pen.lineTo(x2, y2); pen.stroke(); };
    if (kind === 0) for (const o of [-side, 0, side]) line(o, side, o + side, 0);
    if (kind === 1) for (const o of [-side, 0, side]) line(o, 0, o + side, side);
    if (kind === 2) { pen.beginPath(); pen.arc(side / 2, side / 2, 1.5 * scale, 0, 7); pen.fill(); }
    if (kind === 3) line(side / 2, 0, side / 2, side);
    if (kind === 4) line(0, side / 2, side, side / 2);
    if (kind === 5) { line(side / 2, 0, side / 2, side); line(0, side / 2, side, side / 2); }
    return pen.createPattern(tile, "repeat");
  }

  const band = (step, alpha) => hatched(STEP_HUES[step % STEP_HUES.length], step % 6, alpha);

  // ------------------------------------------------------------ what is drawn behind and above the lines

  function clipped(u, draw) {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.textAlign = "left";
    ctx.textBaseline = "alphabetic";
    draw(ctx, bbox, (t) => u.valToPos(t, "x", true));
    ctx.restore();
  }

  function drawBands(u) {
    clipped(u, (ctx, box, x) => {
      if (data.run) {
        ctx.fillStyle = tint(colour("faint"), 0.1);
        ctx.fillRect(box.left, box.top, x(data.run[0]) - box.left, box.height);
        ctx.fillRect(x(data.run[1]), box.top, box.left + box.width - x(data.run[1]), box.height);
      }
      const patterns = data.steps.map((_, step) => band(step, 0.13));
      for (const fault of data.faults) {
        const from = x(fault.start), width = Math.max(x(fault.end) - from, PIXELS());
        ctx.fillStyle = patterns[fault.step];
        ctx.fillRect(from, box.top, width, box.height);
        if (width < 6 * PIXELS()) continue;
        ctx.fillStyle = tint(STEP_HUES[fault.step % STEP_HUES.length], 0.75);
        ctx.fillRect(from, box.top, PIXELS(), box.height);
        if (fault.healed) ctx.fillRect(from + width - PIXELS(), box.top, PIXELS(), box.height);
      }
    });
  }

  function drawEdges(u) {
    if (!data.run) return;
    clipped(u, (ctx, box, x) => {
      ctx.strokeStyle = colour("soft");
      ctx.lineWidth = PIXELS();
      ctx.setLineDash([4 * PIXELS(), 4 * PIXELS()]);
      for (const t of data.run) {
        ctx.beginPath();
        ctx.moveTo(x(t), box.top);
        ctx.lineTo(x(t), box.top + box.height);
        ctx.stroke();
      }
    });
  }

  function drawLimits(u, chart, format, sign) {
    const limits = data.limits.filter((one) => one.chart === chart);
    clipped(u, (ctx, box, x) => {
      ctx.font = `600 ${11.5 * PIXELS()}px system-ui, sans-serif`;
      ctx.strokeStyle = ctx.fillStyle = colour("ink");
      ctx.lineWidth = 1.5 * PIXELS();
      for (const one of limits) {
        const y = u.valToPos(one.value, "y", true);
        ctx.setLineDash([7 * PIXELS(), 4 * PIXELS()]);
        one.spans.forEach(([from, to], number) => {
          ctx.beginPath();
          ctx.moveTo(x(from), y);
          ctx.lineTo(x(to), y);
          ctx.stroke();
          const words = `${one.name}: ${sign} ${format(one.value)}`;
          if (number === 0) ctx.fillText(words, Math.max(x(from), box.left) + 6 * PIXELS(), y - 5 * PIXELS());
        });
      }
    });
  }

  // ------------------------------------------------------------ lanes

  function drawRows(u, rows) {
    clipped(u, (ctx, box, x) => {
      ctx.font = `600 ${11.5 * PIXELS()}px system-ui, sans-serif`;
      ctx.textBaseline = "middle";
      rows.forEach((row, number) => {
        const middle = u.valToPos(number + 0.5, "y", true);
        if (row.step === undefined) drawNode(ctx, row, middle, x);
        else drawStep(ctx, row.step, middle, x);
      });
    });
  }

  function drawStep(ctx, step, middle, x) {
    const hue = STEP_HUES[step % STEP_HUES.length], half = 9 * PIXELS(), strong = band(step, 0.34);
    for (const fault of data.faults.filter((one) => one.step === step)) {
      const asked = x(fault.asked), from = x(fault.start), width = Math.max(x(fault.end) - from, 2 * PIXELS());
      ctx.fillStyle = tint(hue, 0.22);
      ctx.fillRect(asked, middle - half, Math.max(from - asked, 0), 2 * half);
      ctx.fillStyle = strong;
      ctx.fillRect(from, middle - half, width, 2 * half);
      ctx.strokeStyle = fault.sound ? hue : colour("fail");
      ctx.lineWidth = (fault.sound ? 1.25 : 2) * PIXELS();
      ctx.setLineDash(fault.sound ? [] : [4 * PIXELS(), 3 * PIXELS()]);
      ctx.strokeRect(from, middle - half, width, 2 * half);
      ctx.setLineDash([]);
      label(ctx, `${fault.sound ? "" : "! "}${fault.victims.join(", ")}`, from, width, middle);
    }
    if (data.faults.length > 40) return;
    ctx.fillStyle = colour("ink");
    for (const back of data.backs) diamond(ctx, x(back), middle, 5 * PIXELS());
  }

  function label(ctx, text, from, width, middle) {
    const needed = ctx.measureText(text).width, pad = 4 * PIXELS();
    if (!text || needed + 4 * pad > width) return;
    ctx.fillStyle = colour("card");
    ctx.fillRect(from + pad, middle - 7 * PIXELS(), needed + 2 * pad, 14 * PIXELS());
    ctx.fillStyle = colour("ink");
    ctx.fillText(text, from + 2 * pad, middle + PIXELS() / 2);
  }

  function diamond(ctx, x, y, r) {
    ctx.beginPath();
    ctx.moveTo(x, y - r);
    ctx.lineTo(x + r, y);
    ctx.lineTo(x, y + r);
    ctx.lineTo(x - r, y);
    ctx.fill();
  }

  function drawNode(ctx, node, middle, x) {
    for (const [from, to, state] of node.states) {
      const left = x(from), width = Math.max(x(to) - left, PIXELS());
      const half = { leads: 7, up: 1.5, silent: 5, work: 5 }[state] * PIXELS();
      ctx.fillStyle = state === "silent" ? hatched("#d55e00", 0, 0.2) : colour(state === "up" ? "asked" : "served");
      ctx.fillRect(left, middle - half, width, 2 * half);
      const word = { leads: "leader", up: "", silent: node.name === "job" ? "not running" : "silent", work: "" }[state];
      const end = left + ctx.measureText(word).width + 12 * PIXELS();
      const free = node.marks.every(([t]) => x(t) < left - 5 * PIXELS() || x(t) > end + 5 * PIXELS());
      if (word && free && end < left + width) {
        ctx.fillStyle = colour(state === "leads" ? "card" : "ink");
        ctx.fillText(word, left + 6 * PIXELS(), middle + PIXELS() / 2);
      }
    }
    for (const [t, detail] of node.marks) mark(ctx, x(t), middle, detail);
  }

  function mark(ctx, x, y, detail) {
    const r = 4.5 * PIXELS();
    ctx.strokeStyle = colour("card");
    ctx.fillStyle = colour("ink");
    ctx.beginPath();
    if (detail === "started") {
      ctx.moveTo(x, y - r); ctx.lineTo(x + r, y + r); ctx.lineTo(x - r, y + r); ctx.closePath();
      ctx.lineWidth = 3 * PIXELS();
      ctx.stroke();
      ctx.fill();
      return;
    }
    ctx.moveTo(x - r, y - r); ctx.lineTo(x + r, y + r); ctx.moveTo(x + r, y - r); ctx.lineTo(x - r, y + r);
    for (const [width, ink] of [[5, "card"], [2.2, "fail"]]) {
      ctx.lineWidth = width * PIXELS();
      ctx.strokeStyle = colour(ink);
      ctx.stroke();
    }
  }

  function drawNever(u) {
    clipped(u, (ctx, box, x) => {
      ctx.fillStyle = hatched("#d55e00", 0, 0.38);
      data.series.never.forEach((never, number) => {
        const from = data.series.t[number] - data.series.bucket_s / 2;
        if (never) ctx.fillRect(x(from), box.top, x(from + data.series.bucket_s) - x(from), 9 * PIXELS());
      });
    });
  }

  return { seconds, rate, ms, short, tint, colour, hatched, band, drawBands, drawEdges, drawLimits, drawRows, drawNever };
}
