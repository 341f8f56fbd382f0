"use strict";
(function () {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const data = read("page-data");
  const figures = read("page-figures");
  const byId = new Map((data.candidates || []).map((c) => [c.id, c]));
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const touch = window.matchMedia("(pointer: coarse)").matches;
  const charts = Array.from(document.querySelectorAll("[data-chart]"));
  const percent = (share, digits) => (100 * share).toFixed(digits === undefined ? 2 : digits) + "%";
  const escaped = (text) =>
    String(text).replace(/[&<>"']/g, (c) => "&#" + c.charCodeAt(0) + ";");

  // What the page's style says holds for the charts too.
  function theme(printing) {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const text = printing ? "#000000" : colour("--text");
    const grid = printing ? "#dddddd" : colour("--grid");
    const line = printing ? "#999999" : colour("--line");
    const made = {
      "font.color": text, "font.family": getComputedStyle(document.body).fontFamily,
      "modebar.bgcolor": "rgba(0,0,0,0)", "modebar.color": colour("--soft"),
      "modebar.activecolor": colour("--text"), "hoverlabel.bgcolor": colour("--card"), "hoverlabel.bordercolor": line,
      "hoverlabel.font.color": colour("--text"),
    };
    for (const axis of ["xaxis", "yaxis"]) {
      made[axis + ".gridcolor"] = grid;
      made[axis + ".linecolor"] = line;
      made[axis + ".showline"] = true;
      made[axis + ".showgrid"] = true;
    }
    return made;
  }
  function put(layout, changes) {
    for (const [path, value] of Object.entries(changes)) {
      const names = path.split(".");
      const last = names.pop();
      let at = layout;
      for (const name of names) at = at[name] = at[name] || {};
      at[last] = value;
    }
    return layout;
  }

  // On a phone: the legend in two columns, and fewer ticks where they were chosen by hand.
  function narrow(layout) {
    put(layout, { "legend.entrywidthmode": "fraction", "legend.entrywidth": 0.48, "margin.l": 48 });
    const axis = layout.xaxis;
    if (layout.bargap !== undefined) put(layout, {
      "xaxis.nticks": 4, "xaxis.range": [0, axis.range[1] * 1.25] });
    if (!axis || !axis.tickvals || axis.tickvals.length < 6) return;
    const decade = (v) => Math.abs(Math.log10(v) - Math.round(Math.log10(v))) < 1e-6;
    const few = axis.tickvals.filter(decade).length > 2 ? decade : (v, i) => i % 2 === 0;
    axis.ticktext = axis.ticktext.filter((text, i) => few(axis.tickvals[i], i));
    axis.tickvals = axis.tickvals.filter(few);
  }

  const again = new Set(data.again);
  function standing(candidate) {
    if (!data.budget) return "no budget";
    if (again.has(candidate.id))
      return "\u2717 outside the budget when measured again; inside by a short reading";
    return candidate.inside ? "\u2713 inside the budget" : "\u2717 outside the budget";
  }
  function where(candidate) {
    if (candidate.stage === "anchor") return "the uniformly shrunk teacher";
    return candidate.stage === "runoff"
      ? "run-off, trained longer, number " + candidate.rollout
      : candidate.stage + ", update " + candidate.update + ", rollout " + candidate.rollout;
  }
  function sizes(candidate) {
    if (candidate.layers === null) return "";
    const network = data.networks[candidate.layers];
    const removed = network.filter((layer) => layer === 0).length;
    const shrunk = network.filter((layer) => Array.isArray(layer)).length;
    return removed + " removed, " + shrunk + " smaller, of " + network.length;
  }
  function facts(candidate) {
    const rows = [["found in", where(candidate)]];
    rows.push([
      "validation accuracy",
      candidate.accuracy === null ? "not trained" : percent(candidate.accuracy),
    ]);
    if (candidate.expected !== candidate.accuracy)
      rows.push(["compared as", percent(candidate.expected) + " (for its size)"]);
    for (const [name, label] of Object.entries(data.columns))
      if (name in candidate.cost) rows.push([label, candidate.cost[name]]);
    if (candidate.compression !== null && candidate.compression !== undefined)
      rows.push(["compression", percent(candidate.compression, 1)]);
    rows.push(["reward", candidate.reward.toFixed(3)]);
    rows.push(["budget", standing(candidate)]);
    if (sizes(candidate)) rows.push(["layers", sizes(candidate)]);
    if (candidate.same_as !== null)
      rows.push(["accuracy of", "candidate " + candidate.same_as + ", the same network"]);
    if (candidate.reason) rows.push(["reason", candidate.reason]);
    return rows;
  }
  function hover(id) {
    const candidate = byId.get(id);
    if (!candidate) return "";
    const lines = facts(candidate).map(([name, text]) => {
      const short = String(text).length > 60 ? String(text).slice(0, 59) + "\u2026" : String(text);
      return escaped(name) + ": " + escaped(short);
    });
    return "<b>candidate " + id + "</b><br>" + lines.join("<br>") + "<br><i>click: its layers</i>";
  }

  // The panel of one candidate; everything from the run goes in as text.
  const panel = document.getElementById("candidate");
  function element(name, text, kind) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  }
  function row(cells, kind) {
    const line = element("tr", undefined, kind);
    cells.forEach((cell, i) => {
      const made = element(i === 0 ? "th" : "td", cell, i >= 2 ? "number" : i === 1 ? "wrap" : "");
      if (i === 0) made.scope = "row";
      line.append(made);
    });
    return line;
  }
  function layers(candidate) {
    if (candidate.layers === null) {
      const why = data.unknown || (candidate.state === "illegal"
        ? "No network could be built." : "This page had no room for its layers.");
      return element("p", why, "soft");
    }
    const table = element("table");
    const head = element("tr");
    for (const [i, text] of ["layer", "what became of it", "parameters", "FLOPs"].entries()) {
      const cell = element("th", text, i >= 2 ? "number" : "");
      cell.scope = "col";
      head.append(cell);
    }
    const body = element("tbody");
    data.networks[candidate.layers].forEach((layer, i) => {
      const [name, operator, , params, flops] = data.teacher[i];
      const number = (n) => n.toLocaleString("en-US");
      if (layer === 0) body.append(row([name, "\u2013 removed (" + operator + ")", "", ""], "removed"));
      else if (layer === 1) body.append(row([name, "= kept", number(params), number(flops)]));
      else body.append(row([name, data.texts[layer[0]], number(layer[1]), number(layer[2])]));
    });
    const top = element("thead");
    top.append(head);
    const caption = element("caption");
    caption.append(element("span", "Layers; numbers are the candidate's"));
    table.append(caption, top, body);
    const box = element("div", undefined, "scroll");
    box.tabIndex = 0;
    box.append(table);
    return box;
  }
  let shown = null;
  function show(id) {
    const candidate = byId.get(id);
    if (!candidate || !panel) return;
    shown = id;
    panel.querySelector("h2").textContent =
      "Candidate " + id + (id !== data.student ? ""
        : data.narrowed ? ", from which the student was narrowed" : ", the student");
    const list = element("dl");
    for (const [name, text] of facts(candidate)) list.append(element("dt", name), element("dd", text));
    const body = panel.querySelector(".body");
    body.replaceChildren(list, layers(candidate));
    body.scrollTop = 0;
    if (!panel.open) panel.show();
    const picker = document.getElementById("picker");
    if (picker) picker.value = String(id);
    ring(id);
  }
  function ring(id) {
    for (const chart of charts) {
      const last = chart.data.length - 1;
      if (last < 0 || chart.data[last].meta !== "ring") continue;
      const at = { x: [], y: [] };
      for (const trace of chart.data) {
        if (trace.meta !== "candidates" || trace.yaxis === "y2") continue;
        const i = trace.customdata.indexOf(id);
        if (i >= 0) { at.x = [trace.x[i]]; at.y = [trace.y[i]]; }
      }
      Plotly.restyle(chart, { x: [at.x], y: [at.y] }, [last]);
    }
  }
  function step(by) {
    const ids = data.candidates.map((c) => c.id);
    show(ids[(ids.indexOf(shown) + by + ids.length) % ids.length]);
  }

  for (const chart of charts) {
    const figure = figures[chart.dataset.chart];
    if (!figure) continue;
    for (const trace of figure.data) {
      if (trace.meta !== "candidates") continue;
      trace.text = trace.customdata.map(hover);
      trace.hovertemplate = "%{text}<extra></extra>";
    }
    if (figure.data.some((trace) => trace.meta === "candidates"))
      figure.data.push({
        type: "scatter", mode: "markers", x: [], y: [], meta: "ring", showlegend: false,
        hoverinfo: "skip", cliponaxis: false,
        marker: { symbol: "circle-open", size: 22, line: { width: 3 }, color: "#d64545" },
      });
    const layout = put(figure.layout, theme(false));
    if (chart.clientWidth < 480) narrow(figure.layout);
    // A finger that scrolls the page must not zoom into a chart.
    if (touch) layout.dragmode = false;
    Plotly.newPlot(chart, figure.data, layout, {
      responsive: true, displaylogo: false, displayModeBar: touch ? false : "hover",
      modeBarButtons: [["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d", "toImage"]],
    });
    chart.on("plotly_click", (event) => {
      const point = event.points.find((p) => p.data.meta === "candidates");
      if (point) show(point.customdata);
    });
  }
  dark.addEventListener("change", () => charts.forEach((c) => Plotly.relayout(c, theme(false))));
  // On paper: black on white, in the width of a sheet.
  window.addEventListener("beforeprint", () =>
    charts.forEach((c) => Plotly.relayout(c, { ...theme(true), autosize: false, width: 660 })));
  window.addEventListener("afterprint", () =>
    charts.forEach((c) => Plotly.relayout(c, { ...theme(false), autosize: true, width: null })));

  const picker = document.getElementById("picker");
  if (picker && panel) {
    for (const candidate of data.candidates) {
      const accuracy = candidate.accuracy === null ? "not trained" : percent(candidate.accuracy);
      const inside = candidate.inside && !again.has(candidate.id);
      const mark = data.budget ? (inside ? " \u2713" : " \u2717") : "";
      const option = element("option", candidate.id + mark + " " + candidate.stage + ", " + accuracy);
      option.value = String(candidate.id);
      picker.append(option);
    }
    if (data.student !== null) picker.value = String(data.student);
    document.getElementById("pick").addEventListener("click", () => show(Number(picker.value)));
    panel.querySelector("[data-step='-1']").addEventListener("click", () => step(-1));
    panel.querySelector("[data-step='1']").addEventListener("click", () => step(1));
    const close = () => { panel.close(); ring(null); };
    panel.querySelector("[data-close]").addEventListener("click", close);
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && panel.open) close();
    });
    for (const link of document.querySelectorAll("[data-candidate]"))
      link.addEventListener("click", () => show(Number(link.dataset.candidate)));
  }
  document.documentElement.dataset.ready = "yes";
})();
