// Draws every figure of the page; its text takes the colours of the style sheet.
const CONFIG = {
  responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
  toImageButtonOptions: { format: "svg" },
};
const BASE = {
  autosize: true, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 60, r: 16, t: 16, b: 48 },
  font: { family: "system-ui, sans-serif", size: 13 }, hoverlabel: { align: "left" },
};
function draw(place, data, layout) {
  Plotly.react(place, data, { ...BASE, ...layout }, CONFIG);
}
for (const place of document.querySelectorAll(".figure[data-source]")) {
  const { data, layout } = JSON.parse(document.getElementById(place.dataset.source).textContent);
  draw(place, data, layout);
}
