// Draws charts from the API and keeps a few numbers up to date. Pages are whole without it.
"use strict";

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const still = window.matchMedia("(prefers-reduced-motion: reduce)");
const charts = [];
const answers = new Map();

// Several charts of a page share one address; it is asked once.
const answer = (source) => {
  if (!answers.has(source)) {
    answers.set(source, fetch(source).then((reply) => {
      if (!reply.ok) throw new Error(`${source}: ${reply.status}`);
      return reply.json();
    }));
  }
  return answers.get(source);
};

const common = () => ({
  animation: !still.matches,
  textStyle: { color: colour("--text"), fontFamily: "system-ui, sans-serif" },
  // Rich text is drawn on the canvas: the policy of these pages allows no styles in markup.
  tooltip: { renderMode: "richText", backgroundColor: colour("--card"), borderColor: colour("--line"), textStyle: { color: colour("--text") }, confine: true },
  color: dark.matches ? ["#8ab4ff", "#ffb86b", "#7fdca4", "#d6a8ff"] : ["#1d4ed8", "#b45309", "#11703d", "#7c3aed"],
});
const axis = (name, more) => ({
  name, nameLocation: "middle", nameGap: 30, nameTextStyle: { color: colour("--quiet") },
  axisLabel: { color: colour("--quiet") }, axisLine: { lineStyle: { color: colour("--line") } },
  splitLine: { lineStyle: { color: colour("--line") } }, ...more,
});
const grid = { left: 62, right: 20, top: 40, bottom: 48 };
const round = (value) => Math.round(value * 1000) / 1000;

const trained = (run) => run.epochs.filter((epoch) => !epoch.settling);

const loss = (run, state) => {
  const at = (epoch) => (state.x === "tokens" ? epoch.tokens_total : epoch.epoch);
  const points = (key) => trained(run).filter((epoch) => epoch[key] !== null && at(epoch) !== null)
    .map((epoch) => [at(epoch), round(epoch[key])]);
  const line = (name, key, symbol) => ({ name, type: "line", symbol, symbolSize: 8, data: points(key) });
  return {
    ...common(), grid, legend: { textStyle: { color: colour("--text") }, top: 6 },
    tooltip: { ...common().tooltip, trigger: "axis" },
    xAxis: axis(state.x === "tokens" ? "tokens trained" : "epoch", { type: "value", minInterval: state.x === "tokens" ? 0 : 1, scale: true }),
    yAxis: axis("nats per token", { type: state.y, nameGap: 44, scale: true, minorTick: { show: state.y === "log" } }),
    series: [line("training", "train_loss", "circle"), line("held out", "heldout_loss", "diamond")],
  };
};

const throughput = (run) => ({
  ...common(), grid, tooltip: { ...common().tooltip, trigger: "axis" },
  xAxis: axis("epoch", { type: "category", data: trained(run).map((epoch) => epoch.epoch) }),
  yAxis: axis("tokens per second", { type: "value", nameGap: 48 }),
  series: [{ name: "tokens per second", type: "bar", barMaxWidth: 40, data: trained(run).map((epoch) => epoch.tokens_per_second && Math.round(epoch.tokens_per_second)) }],
});

const agreement = (epoch, state) => {
  const matrix = epoch.matrices.find((each) => String(each.stage) === state.stage);
  if (!matrix || matrix.cells.length === 0) return null;
  const kinds = ["missing", "single", "agreed", "differs"];
  const uids = matrix.uids.map(String);
  return {
    ...common(), grid: { left: 50, right: 16, top: 16, bottom: 74 },
    xAxis: axis("uid", { type: "category", data: uids, nameGap: 24 }),
    yAxis: axis("uid", { type: "category", data: uids, nameGap: 30 }),
    visualMap: {
      type: "piecewise", orient: "horizontal", left: "center", bottom: 0, textStyle: { color: colour("--text") },
      pieces: kinds.map((label, value) => ({ value, label, color: [colour("--plain-ground"), "#d99a1c", "#2e9e63", "#d64545"][value] })),
    },
    series: [{
      type: "heatmap", itemStyle: { borderWidth: 2, borderColor: colour("--card") },
      data: matrix.cells.map((cell) => [String(cell.column), String(cell.row), kinds.indexOf(cell.state)]),
      tooltip: { formatter: ({ value }) => `uid ${value[1]} and uid ${value[0]}: ${kinds[value[2]]}` },
    }],
  };
};

const flow = (epoch) => {
  const name = (stage, uid) => `stage ${stage}, uid ${uid}`;
  const nodes = new Map();
  const links = epoch.flow.map((each) => {
    const [source, target] = [name(each.from_stage, each.from), name(each.from_stage + 1, each.to)];
    nodes.set(source, { name: source, depth: each.from_stage });
    nodes.set(target, { name: target, depth: each.from_stage + 1 });
    return { source, target, value: each.samples };
  });
  return {
    ...common(),
    series: [{
      type: "sankey", left: 12, right: 110, top: 16, bottom: 16, nodeGap: 14, data: [...nodes.values()], links,
      label: { color: colour("--text") }, lineStyle: { color: "gradient", opacity: 0.45 },
    }],
  };
};

const kinds = { loss, throughput, agreement, flow };

// A row of two buttons that choose one value of a chart's state.
const switches = (chart, key, values) => {
  const row = document.createElement("div");
  row.className = "switches";
  for (const [value, label] of values) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.setAttribute("aria-pressed", String(chart.state[key] === value));
    button.addEventListener("click", () => {
      chart.state[key] = value;
      for (const each of row.children) each.setAttribute("aria-pressed", String(each === button));
      draw(chart);
    });
    row.append(button);
  }
  chart.place.before(row);
};

const draw = async (chart) => {
  const option = kinds[chart.kind](await answer(chart.source), chart.state);
  chart.place.classList.toggle("drawn", option !== null);
  if (option === null) return;
  chart.view ??= echarts.init(chart.place);
  chart.view.setOption(option, true);
  chart.view.resize();
};

const start = (place) => {
  const chart = {
    place, kind: place.dataset.chart, source: place.dataset.source, view: null,
    state: { x: "epoch", y: "value", stage: place.dataset.stage },
  };
  charts.push(chart);
  if (chart.kind === "loss") {
    switches(chart, "y", [["value", "linear"], ["log", "logarithmic"]]);
    switches(chart, "x", [["epoch", "by epoch"], ["tokens", "by tokens"]]);
  }
  draw(chart).catch((error) => console.warn(String(error)));
};

const live = () => {
  const line = document.getElementById("live");
  const set = (run, name, value) => {
    const within = run === null ? "" : `[data-run="${run}"] `;
    for (const place of document.querySelectorAll(`${within}[data-live="${name}"]`)) {
      if (value === null || value === undefined) continue;
      const link = place.querySelector("a");
      (link ?? place).textContent = String(value);
      if (link !== null && name === "block") link.href = `/block/${value}`;
    }
  };
  const updates = new EventSource("/api/v1/live");
  updates.addEventListener("block", (event) => {
    const status = JSON.parse(event.data);
    if (!status.newest) return;
    line.textContent = `Live: block ${status.newest.number}`;
    set(null, "block", status.newest.number);
    for (const run of status.runs) {
      set(run.run, "epoch", run.epoch);
      set(run.run, "phase", run.phase);
      set(run.run, "phase_ends", run.phase_ends);
      set(run.run, "tokens", run.tokens.toLocaleString("en-US"));
    }
  });
  updates.addEventListener("error", () => { line.textContent = "Live updates are interrupted; the page shows what was last seen."; });
};

document.querySelectorAll(".chart").forEach(start);
window.addEventListener("resize", () => charts.forEach((chart) => chart.view?.resize()));
dark.addEventListener("change", () => charts.forEach(draw));
// With ?live=off the page stays as it was loaded: for printing, and for programs that wait until a
// page has nothing open any more.
if (new URLSearchParams(location.search).get("live") !== "off") window.addEventListener("load", live);
