// The heat map over two parameters; others are held at a value that the reader picks.
for (const place of document.querySelectorAll(".figure[data-values]")) {
  const { measure, sign, parameters, configurations } = JSON.parse(document.getElementById(place.dataset.values).textContent);
  const rank = (one) => (one.mean === null ? -Infinity : sign * one.mean); // higher is better
  const best = configurations.reduce((a, b) => (b.selected || (!a.selected && rank(b) > rank(a)) ? b : a));
  const axes = { x: parameters[0], y: parameters[1] };
  const held = Object.fromEntries(parameters.map(({ key }) => [key, best.choices[key]]));
  const controls = place.previousElementSibling;
  const scale = [[0, "rgba(47,127,203,0.06)"], [1, "rgba(47,127,203,0.75)"]];
  // What plotly would take for tags, entities, formulas or templates, as it stands.
  const asText = (text) => String(text).replace(/[&<>$%{}]/g, (sign) => `&#${sign.charCodeAt(0)};`);
  const bar = { title: { text: asText(measure), side: "right", font: { size: 13 } }, thickness: 12, outlinewidth: 0, ticks: "" };
  const MOST = 50; // rows of a grid
  const MARK = "#dd8a26"; // the selected configuration

  const others = () => parameters.filter((one) => one !== axes.x && one !== axes.y);

  function select(label, values, chosen, onChange) {
    const box = document.createElement("label");
    box.textContent = label + " ";
    const menu = box.appendChild(document.createElement("select"));
    menu.name = label;
    for (const value of values) menu.add(new Option(value, value, false, value === chosen));
    menu.addEventListener("change", () => { onChange(menu.value); update(); });
    controls.append(box);
  }

  function showControls(isGrid) {
    controls.replaceChildren();
    if (parameters.length < 3) return;
    const keys = parameters.map(({ key }) => key);
    for (const [name, other] of [["x", "y"], ["y", "x"]]) {
      select(name === "x" ? "across" : "down", keys, axes[name].key, (key) => {
        if (key === axes[other].key) axes[other] = axes[name];
        axes[name] = parameters.find((one) => one.key === key);
      });
    }
    for (const { key, values } of isGrid ? others() : []) {
      select(key, values, held[key], (value) => { held[key] = value; });
    }
  }

  function details(one) {
    const choices = Object.entries(one.choices).map(([key, value]) => asText(`${key}=${value}`)).join("<br>");
    const spread = one.deviation === null ? "" : ` ± ${one.texts[1]}`;
    const seeds = one.n === one.of ? `${one.n} seeds` : `${one.n} of ${one.of} seeds; ${one.missing}`;
    return `${choices}<br>${one.mean === null ? "no result" : one.texts[0] + spread} (${seeds})`;
  }

  function cells(found) {
    const at = (x, y) => found.find((one) => one.choices[axes.x.key] === x && one.choices[axes.y.key] === y);
    const grid = axes.y.values.map((y) => axes.x.values.map((x) => at(x, y)));
    const text = (one) => {
      if (!one || one.mean === null) return "";
      const spread = one.deviation === null ? "" : `<br>± ${one.texts[1]}`;
      return `<b>${one.texts[0]}</b>${spread}<br>n = ${one.n}${one.n < one.of ? ` of ${one.of}` : ""}`;
    };
    const empty = found.filter((one) => one.mean === null);
    const index = (one) => [axes.x.values.indexOf(one.choices[axes.x.key]), axes.y.values.indexOf(one.choices[axes.y.key])];
    const outline = found.filter((one) => one.selected).map((one) => {
      const [x, y] = index(one);
      return { type: "rect", x0: x - 0.5, x1: x + 0.5, y0: y - 0.5, y1: y + 0.5, line: { width: 2.5, color: MARK } };
    });
    const rowHeight = Math.max(16, Math.min(78, 780 / axes.y.values.length)); // a page stays readable with many rows
    const data = [{
      type: "heatmap", x: axes.x.values.map(asText), y: axes.y.values.map(asText), z: grid.map((row) => row.map((one) => one?.mean ?? null)),
      text: grid.map((row) => row.map(text)), texttemplate: axes.x.values.length <= 12 && rowHeight >= 54 ? "%{text}" : "",
      customdata: grid.map((row) => row.map((one) => (one ? details(one) : ""))), colorscale: scale, reversescale: sign < 0, xgap: 3, ygap: 3,
      hovertemplate: "%{customdata}<extra></extra>", hoverongaps: false, colorbar: bar,
    }];
    const axis = (one) => ({ tickvals: one.values.map(asText), ticktext: one.labels.map(asText), title: { text: asText(one.key), font: { size: 13 } }, type: "category", ticks: "", ticklabelstandoff: 6, showgrid: false, automargin: true, zeroline: false });
    const layout = {
      height: Math.max(280, 110 + rowHeight * axes.y.values.length), xaxis: axis(axes.x), yaxis: axis(axes.y), shapes: outline,
      annotations: empty.map((one) => ({ x: index(one)[0], y: index(one)[1], text: one.missing, showarrow: false })),
    };
    return { data, layout };
  }

  function points(found) {
    const measured = found.filter((one) => one.mean !== null);
    const x = measured.map((one) => asText(one.choices[axes.x.key]));
    const y = axes.y ? measured.map((one) => asText(one.choices[axes.y.key])) : measured.map((one) => one.mean);
    const colour = axes.y ? { color: measured.map((one) => one.mean), colorscale: [[0, "#d9a441"], [0.5, "#8c8f9a"], [1, "#2f7fcb"]], reversescale: sign < 0, showscale: true,
      colorbar: bar } : { color: "#2f7fcb" };
    const bars = axes.y ? {} : { error_y: { type: "data", array: measured.map((one) => one.deviation ?? 0), color: "#2f7fcb" } };
    const line = { width: measured.map((one) => (one.selected ? 3.5 : 0)), color: MARK };
    const size = measured.map((one) => (one.selected ? 15 : 12));
    const data = [{ type: "scatter", mode: "markers", x, y, customdata: measured.map(details), marker: { size, line, opacity: 1, ...colour },
      hovertemplate: "%{customdata}<extra></extra>", ...bars }];
    const numbers = (one) => one && one.values.every((value) => value !== "" && !isNaN(value));
    const far = (one) => Number(one.values[0]) > 0 && Number(one.values.at(-1)) >= 30 * Number(one.values[0]);
    const kind = (one) => (!one ? "linear" : !numbers(one) ? "category" : far(one) ? "log" : "linear");
    const axis = (one, title) => ({ title: { text: asText(title), font: { size: 13 } }, type: kind(one), automargin: true, zeroline: false,
      ...(one && one.values.length <= 12 && numbers(one) ? { tickvals: one.values, ticktext: one.labels } : {}) });
    return { data, layout: { height: 400, xaxis: axis(axes.x, axes.x.key), yaxis: axis(axes.y, axes.y ? axes.y.key : measure) } };
  }

  // A search draws new values for each run: they are points, not cells.
  function update() {
    const found = configurations.filter((one) => others().every(({ key }) => one.choices[key] === held[key]));
    const isGrid = axes.y && axes.y.values.length <= MOST && found.length >= 2 * Math.max(axes.x.values.length, axes.y.values.length);
    showControls(isGrid);
    const { data, layout } = isGrid ? cells(found) : points(configurations);
    draw(place, data, layout);
  }

  update();
}
