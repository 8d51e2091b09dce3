// The charts of a report: lanes of faults and nodes, throughput, latency, errors, with one cursor and one zoom.
//
//   kill      ▒▒▓▓▓▓▓▓▓▓▓◆          a band a fault, drawn through every chart below
//   etcd1     ━━━━━✕      ▲────
//   served/s  ─────╮  ╭────────
(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const place = document.getElementById("charts");
  const readout = document.getElementById("readout");
  const tools = document.getElementById("tools");
  const pens = drawing(data);
  const { seconds, rate, ms, short, tint, colour, hatched, band } = pens;
  const { drawBands, drawEdges, drawLimits, drawRows, drawNever } = pens;
  const series = data.series;
  const AXIS = 84, ROW = 27;
  const ERROR_HUES = ["#d55e00", "#e6ab02", "#7570b3", "#66a61e", "#a6761d", "#1b9e77", "#888888"];
  let charts = [];
  let jumped = -1;

  // ------------------------------------------------------------ options that all charts share

  function axis(more) {
    const ink = colour("soft"), grid = colour("grid");
    const font = "12px system-ui, sans-serif";
    return { stroke: ink, font, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1, size: 5 }, ...more };
  }

  function options(height, more) {
    return {
      width: place.clientWidth, height, padding: [8, 22, 0, 0],
      legend: { live: true },
      cursor: {
        sync: { key: "chaosgate", scales: ["x", null] }, y: false, points: { size: 7 },
        drag: { x: true, y: false, setScale: true },
      },
      ...more,
      scales: { x: { time: false }, ...more.scales },
      hooks: {
        drawClear: [drawBands],
        setScale: [(u, key) => key === "x" && zoomOthers(u)],
        setCursor: [tell],
        ...more.hooks,
      },
    };
  }

  const clock = { label: "t", value: (_, t) => seconds(t) };
  const timeAxis = (more) => axis({ values: (_, ts) => ts.map((t) => `${+t.toFixed(3)} s`), space: 70, size: 32, ...more });

  function zoomOthers(u) {
    const { min, max } = u.scales.x;
    for (const { plot } of charts) {
      if (plot !== u && (plot.scales.x.min !== min || plot.scales.x.max !== max)) plot.setScale("x", { min, max });
    }
  }

  function extent() {
    const ends = [...(data.run || []), ...(data.phases.length ? [data.phases[data.phases.length - 1][0]] : [])];
    const begin = data.phases.find(([, name]) => name === "warm-up");
    if (series) ends.push(series.t[0], series.t[series.t.length - 1]);
    const from = Math.min(...ends, begin ? begin[0] : Infinity), to = Math.max(...ends);
    if (series) return [series.t[0] - series.bucket_s / 2, Math.max(series.t[series.t.length - 1] + series.bucket_s / 2, data.run ? data.run[1] : -Infinity)];
    return Number.isFinite(from) && to > from ? [from, to] : [0, 1];
  }

  // ------------------------------------------------------------ the charts

  function add(id, title, note, made) {
    const figure = document.createElement("figure");
    figure.className = "chart";
    figure.id = id;
    figure.style.margin = 0;
    figure.setAttribute("role", "group");
    figure.setAttribute("aria-label", `${title}: ${note}`);
    const head = document.createElement("h3");
    head.textContent = title;
    const small = document.createElement("small");
    small.textContent = note;
    head.append(small);
    figure.append(head);
    place.append(figure);
    const plot = new uPlot(made.options, made.data, figure);
    plot.ctx.canvas.setAttribute("role", "img");
    plot.ctx.canvas.setAttribute("aria-label", title);
    charts.push({ plot, height: made.options.height });
  }

  function lanes() {
    const rows = [...data.steps.map((name, step) => ({ name, step })), ...data.lanes];
    const xs = series ? series.t : extent();
    const height = rows.length * ROW + 44;
    return {
      data: [xs, xs.map(() => null)],
      options: options(height, {
        legend: { show: false },
        scales: { y: { range: [0, rows.length], dir: -1 }, x: { time: false, range: keepExtent } },
        axes: [
          timeAxis(),
          axis({
            size: AXIS, ticks: { show: false }, grid: { show: false }, gap: 8,
            splits: () => rows.map((_, row) => row + 0.5),
            values: () => rows.map((row) => short(row.name, 11)), filter: (_, splits) => splits,
          }),
        ],
        series: [{}, { show: true, stroke: "transparent" }],
        hooks: { draw: [(u) => drawRows(u, rows), drawEdges] },
      }),
    };
  }

  const keepExtent = (u, min, max) => (min == null || !u.zoomed ? extent() : [min, max]);

  function fromZero(u, _, max) {
    return [0, Math.max(max || 0, data.asked_per_s || 0, 1) * 1.12];
  }

  // A rate of nothing is no line along the axis: zeros between zeros are left out.
  function raised(rates) {
    return rates.map((v, at) => (v || rates[at - 1] || rates[at + 1] ? v : null));
  }

  function throughput() {
    const served = colour("served"), line = { width: 2, points: { show: false } };
    const asked = series.t.map(() => data.asked_per_s);
    const drawn = [
      { label: "served", stroke: served, fill: tint(served, 0.13), value: (_, v) => rate(v), ...line },
      { label: "failed", stroke: colour("failed"), dash: [7, 3], ...line, value: (_, v, s, at) => rate(series.failed[at]) },
      { label: "unknown", stroke: colour("unknown"), dash: [2, 3], ...line, value: (_, v, s, at) => rate(series.unknown[at]) },
    ];
    const columns = [series.t, series.served, raised(series.failed), raised(series.unknown)];
    if (data.asked_per_s) {
      drawn.push({ label: "asked", stroke: colour("asked"), width: 1.25, dash: [10, 6], points: { show: false }, value: (_, v) => rate(v) });
      columns.push(asked);
    }
    return {
      data: columns,
      options: options(230, {
        scales: { y: { range: fromZero }, x: { time: false, range: keepExtent } },
        axes: [timeAxis(), axis({ size: AXIS, values: (_, vs) => vs.map(rate) })],
        series: [clock, ...drawn],
        hooks: { draw: [drawEdges, (u) => drawLimits(u, "throughput", rate, "≥")] },
      }),
    };
  }

  function decades(_, min, max) {
    const limits = data.limits.filter((one) => one.chart === "latency").map((one) => one.value * 1.3);
    const low = Math.log10(Math.max(min || 1, 0.001)), high = Math.log10(Math.max(max || 10, ...limits));
    return [10 ** Math.floor(low), 10 ** Math.max(Math.ceil(high), Math.floor(low) + 1)];
  }

  function latency() {
    const power = (v) => v != null && Math.abs(Math.log10(v) - Math.round(Math.log10(v))) < 1e-9;
    const line = { points: { show: false }, value: (_, v) => ms(v), spanGaps: false };
    return {
      data: [series.t, series.p50_ms, series.p99_ms],
      options: options(230, {
        scales: { y: { distr: 3, range: decades }, x: { time: false, range: keepExtent } },
        axes: [timeAxis(), axis({
          size: AXIS, values: (_, vs) => vs.map((v) => (power(v) ? ms(v) : "")),
          grid: { stroke: colour("grid"), width: 1, filter: (_, vs) => vs.map((v) => (power(v) ? v : null)) },
        })],
        series: [
          clock,
          { label: "p50", stroke: colour("p50"), width: 1.75, dash: [6, 3], ...line },
          { label: "p99", stroke: colour("p99"), width: 2.25, ...line },
        ],
        hooks: { draw: [drawEdges, drawNever, (u) => drawLimits(u, "latency", ms, "≤")] },
      }),
    };
  }

  function errors() {
    const kinds = Object.keys(series.errors);
    const sums = kinds.map((_, first) =>
      series.t.map((_, at) => kinds.slice(first).reduce((sum, kind) => sum + series.errors[kind][at], 0)));
    const bars = uPlot.paths.bars({ size: [1, Infinity], align: 0 });
    return {
      data: [series.t, ...sums],
      options: options(150, {
        scales: { y: { range: (u, _, max) => [0, Math.max(max || 0, 1) * 1.12] }, x: { time: false, range: keepExtent } },
        axes: [timeAxis(), axis({ size: AXIS, values: (_, vs) => vs.map(rate) })],
        series: [clock, ...kinds.map((kind, number) => errorSeries(kind, number, bars))],
        hooks: { draw: [drawEdges] },
      }),
    };
  }

  // ------------------------------------------------------------ curves of a job, each with moments of its own

  const UNITS = {
    count: (v) => (v == null ? "–" : Math.round(v).toLocaleString("en")),
    share: (v) => (v == null ? "–" : `${Math.round(v * 100)} %`),
    ms,
  };
  const DASHES = [[], [7, 3], [2, 3], [9, 3, 2, 3]];

  function curves(chart) {
    const told = UNITS[chart.unit];
    const joined = uPlot.join(chart.curves.map((one) => [one.t, one.v]), chart.curves.map(() => [2]));
    const top = (u, _, max) => [0, chart.unit === "share" ? 1 : Math.max(max || 0, 1) * 1.12];
    return {
      data: joined,
      options: options(150, {
        scales: { y: { range: top }, x: { time: false, range: keepExtent } },
        axes: [timeAxis(), axis({ size: AXIS, values: (_, vs) => vs.map(told) })],
        series: [clock, ...chart.curves.map((one, number) => ({
          label: short(one.label, 40), stroke: ERROR_HUES[(number + 2) % ERROR_HUES.length], width: 1.75,
          dash: DASHES[number % DASHES.length], points: { show: false }, spanGaps: false, value: (_, v) => told(v),
        }))],
        hooks: { draw: [drawEdges] },
      }),
    };
  }

  function errorSeries(kind, number, bars) {
    const hue = ERROR_HUES[number % ERROR_HUES.length];
    return {
      label: short(kind, 60), stroke: hue, width: 0, paths: bars, points: { show: false },
      fill: number % 2 ? () => hatched(hue, number % 6, 0.4) : hue,
      value: (u, _, place, at) => rate(at == null ? null : series.errors[kind][at]),
    };
  }

  // ------------------------------------------------------------ reading, zooming

  function tell(u) {
    if (u.cursor.left == null || u.cursor.left < 0) return;
    const t = u.posToVal(u.cursor.left, "x");
    const inForce = data.faults.filter((one) => one.start <= t && t < one.end);
    const words = [`t = ${seconds(t)}`, phase(t)];
    for (const one of inForce.slice(0, 3)) words.push(`${data.steps[one.step]} #${one.number} on ${one.victims.join(", ") || "nobody"}`);
    for (const node of data.lanes) {
      const state = node.states.find(([from, to]) => from <= t && t < to);
      if (state && state[2] === "leads") words.push(`${node.name} leads`);
      if (state && state[2] === "silent") words.push(`${node.name} silent`);
    }
    readout.textContent = words.filter(Boolean).join("  ·  ");
  }

  function phase(t) {
    const begun = data.phases.filter(([at]) => at <= t);
    const name = begun.length ? begun[begun.length - 1][1] : "";
    return name === "steady" ? "" : name;
  }

  function zoom(from, to) {
    for (const { plot } of charts) plot.zoomed = true;
    if (charts.length) charts[0].plot.setScale("x", { min: from, max: to });
  }

  function whole() {
    zoom(...extent());
  }

  function toFault(step) {
    if (!data.faults.length) return;
    jumped = (jumped + step + data.faults.length) % data.faults.length;
    const fault = data.faults[jumped], air = Math.max(1, (fault.end - fault.start) * 0.6);
    zoom(fault.asked - air, fault.end + 2 * air);
    readout.textContent = `${data.steps[fault.step]} #${fault.number} on ${fault.victims.join(", ")}: asked at ${seconds(fault.asked)}, ` +
      `in force ${seconds(fault.start)} to ${seconds(fault.end)}${fault.healed ? "" : ", not proved to be gone"}`;
  }

  function button(text, act) {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.addEventListener("click", act);
    tools.append(made);
  }

  // ------------------------------------------------------------ the page

  function build() {
    for (const { plot } of charts) plot.destroy();
    charts = [];
    place.replaceChildren();
    if (data.steps.length || data.lanes.length) {
      add("lanes", "Faults and nodes", "thick: leads, thin: answers, hatched: silent; ✕ process ended, ▲ started, ◆ traffic back", lanes());
    }
    if (!series) return empty("No operation was recorded.");
    const per = `per ${series.bucket_s < 1 ? `${Math.round(series.bucket_s * 1000)} ms` : `${series.bucket_s} s`}`;
    add("throughput", "Throughput", `a second, ${per}`, throughput());
    add("latency", "Latency", `of what was served, from the intended moment, ${per}; hatched at the top: more than 1 % was never answered, p99 is infinite`, latency());
    if (Object.keys(series.errors).length) add("errors", "Errors", `by kind, ${per}, stacked`, errors());
    else empty("Errors: none. Every operation was served.");
    for (const one of data.charts) add(one.name, one.title, one.note, curves(one));
    for (const { plot } of charts) plot.over.addEventListener("mousedown", () => { for (const one of charts) one.plot.zoomed = true; });
    for (const { plot } of charts) plot.over.addEventListener("dblclick", whole);
  }

  function empty(text) {
    const note = document.createElement("p");
    note.className = "empty";
    note.textContent = text;
    place.append(note);
  }

  function fit(width) {
    for (const { plot, height } of charts) plot.setSize({ width, height });
  }

  function swatches() {
    for (const one of document.querySelectorAll(".swatch")) {
      const tile = document.createElement("canvas"), pen = tile.getContext("2d");
      tile.width = 52; tile.height = 32;
      pen.fillStyle = band(Number(one.dataset.step), 0.34);
      pen.fillRect(0, 0, 52, 32);
      one.style.background = `url(${tile.toDataURL()}) 0 0 / 26px 16px`;
    }
  }

  function filterLog() {
    const field = document.getElementById("filter");
    if (!field) return;
    field.closest("p").hidden = false;
    field.addEventListener("input", () => {
      const wanted = field.value.toLowerCase();
      for (const row of document.querySelectorAll("#log tbody tr")) row.hidden = !row.textContent.toLowerCase().includes(wanted);
    });
  }

  function copying() {
    for (const one of document.querySelectorAll("[data-copy]")) {
      one.hidden = !navigator.clipboard;
      one.addEventListener("click", async () => {
        await navigator.clipboard.writeText(one.dataset.copy);
        one.textContent = "copied";
        setTimeout(() => { one.textContent = "copy"; }, 1500);
      });
    }
  }

  function jumping() {
    for (const one of document.querySelectorAll(".jump")) {
      one.hidden = !charts.length;
      one.addEventListener("click", () => {
        const from = Number(one.dataset.from), to = Number(one.dataset.to), air = Math.max(1, to - from);
        zoom(from - air, to + air);
        document.getElementById("timeline").scrollIntoView({ behavior: "smooth" });
      });
    }
  }

  // Paper is white and narrow, and nothing can be unfolded on it; the log stays folded.
  function print(on) {
    const closed = document.querySelectorAll("details:not(#log)");
    if (on) {
      document.documentElement.dataset.theme = "light";
      for (const one of closed) if (!one.open) { one.open = true; one.dataset.opened = ""; }
    } else {
      delete document.documentElement.dataset.theme;
      for (const one of closed) if ("opened" in one.dataset) { one.open = false; delete one.dataset.opened; }
    }
    build();
    if (on) fit(690);
  }

  build();
  swatches();
  filterLog();
  copying();
  jumping();
  if (charts.length) {
    tools.hidden = false;
    readout.textContent = "Point at a chart to read it.";
    button("whole run", whole);
    if (data.faults.length) {
      button("‹ previous fault", () => toFault(-1));
      button("next fault ›", () => toFault(1));
    }
  }
  let seen = place.clientWidth;
  new ResizeObserver(() => {
    if (place.clientWidth !== seen) fit(seen = place.clientWidth);
  }).observe(place);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { build(); swatches(); });
  addEventListener("beforeprint", () => print(true));
  addEventListener("afterprint", () => print(false));
})();
