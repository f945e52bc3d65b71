// A table that sorts by a click on a title; a filter that keeps the rows, and the lines of the figures beside them,
// that hold each of its words.
for (const section of document.querySelectorAll("[data-controls]")) {
  const table = section.querySelector("table[data-sorts]");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const titles = [...table.querySelectorAll("th")];
  const status = section.querySelector("[role=status]");
  const filter = section.querySelector("input[type=search]");
  const figures = [...section.querySelectorAll(".figure[data-source]")];

  const key = (row, column) => {
    const { value } = row.cells[column].dataset;
    return value === undefined ? row.cells[column].textContent : Number(value);
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));

  function sort(column) {
    // The first click on a column of results shows the highest first.
    const title = titles[column];
    const first = title.classList.contains("number") ? "descending" : "ascending";
    const order = title.getAttribute("aria-sort") === first ? (first === "ascending" ? "descending" : "ascending") : first;
    for (const each of titles) each.removeAttribute("aria-sort");
    title.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    rows.sort((a, b) => sign * compare(key(a, column), key(b, column)));
    body.append(...rows);
  }

  function show(words) {
    for (const row of rows) {
      const held = row.dataset.text.toLowerCase().split(" ");
      row.hidden = !words.every((word) => held.some((text) => text.startsWith(word)));
    }
    const kept = new Set(rows.filter((row) => !row.hidden).map((row) => row.cells[0].textContent));
    status.textContent = `${kept.size} of ${rows.length} rows`;
    for (const figure of figures) {
      if (!figure.data.some((line) => line.meta)) continue;
      figure.opacities ??= figure.data.map((line) => line.opacity ?? 1);
      const opacity = figure.data.map((line, i) => (!line.meta || kept.has(line.meta) ? figure.opacities[i] : 0.06));
      Plotly.restyle(figure, { opacity });
    }
  }

  titles.forEach((title, column) => title.querySelector("button").addEventListener("click", () => sort(column)));
  filter.addEventListener("input", () => show(filter.value.toLowerCase().split(/\s+/).filter(Boolean)));
  status.textContent = `${rows.length} rows`;
}
