"use strict";

(() => {
  const byId = (id) => document.getElementById(id);
  const dark = matchMedia("(prefers-color-scheme: dark)");

  // Figures: the data comes with the page, the colours from its style sheet.

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function colors(layout) {
    const update = {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      "font.color": color("--ink"),
      "font.family": getComputedStyle(document.body).fontFamily,
      "font.size": 13,
      "hoverlabel.bgcolor": color("--card"),
      "hoverlabel.bordercolor": color("--line"),
      "hoverlabel.font.color": color("--ink"),
      "modebar.color": color("--quiet"),
      "modebar.activecolor": color("--ink"),
      "modebar.bgcolor": "rgba(0,0,0,0)",
    };
    for (const axis of Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key))) {
      const isRungs = layout[axis].griddash === "dash";
      update[`${axis}.gridcolor`] = color(isRungs ? "--rung" : "--grid");
      update[`${axis}.linecolor`] = color("--line");
      update[`${axis}.title.font.color`] = color("--quiet");
      update[`${axis}.title.font.size`] = 13;
    }
    (layout.annotations || []).forEach((_, index) => {
      update[`annotations[${index}].font.color`] = color("--quiet");
      update[`annotations[${index}].bgcolor`] = color("--card");
    });
    return update;
  }

  const narrow = matchMedia("(max-width: 600px)").matches;
  const options = {
    responsive: true,
    displayModeBar: narrow ? false : "hover",
    displaylogo: false,
    // Plotly's own choice of buttons has one that sends the data to a server.
    showSendToCloud: false,
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
  };

  function draw(place) {
    const figure = JSON.parse(byId(`${place.id}-data`).textContent);
    // On a phone a finger on a figure scrolls the page.
    if (narrow) figure.layout.dragmode = false;
    return Plotly.newPlot(place, figure.data, figure.layout, options).then(() =>
      Plotly.relayout(place, colors(place.layout)));
  }

  const places = [...document.querySelectorAll(".figure")];
  Promise.all(places.map(draw)).then(() => {
    document.documentElement.dataset.drawn = places.length;
  });
  dark.addEventListener("change", () => {
    for (const place of places) Plotly.relayout(place, colors(place.layout));
  });

  // The copy button. The clipboard is closed to some pages that were opened from a file.

  function copyBySelection(element) {
    const range = document.createRange();
    range.selectNodeContents(element);
    const selection = getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
    return document.execCommand("copy");
  }

  async function copy() {
    const config = byId("config");
    let done = false;
    try {
      await navigator.clipboard.writeText(config.textContent);
      done = true;
    } catch {
      done = copyBySelection(config);
    }
    byId("copied").textContent = done ? "Copied." : "Selected; press Ctrl+C to copy.";
  }

  if (byId("copy")) byId("copy").addEventListener("click", copy);

  // The table: a click on a heading sorts, empty cells last either way.

  const table = byId("trials");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const headings = [...table.tHead.rows[0].cells];

  headings.forEach((heading, column) => {
    const isNumeric = rows.some((row) => "number" in row.cells[column].dataset);
    heading.classList.toggle("number", isNumeric);
    heading.firstElementChild.addEventListener("click", () => sort(column));
  });

  function compare(a, b) {
    if (a.key === "" || b.key === "") return (a.key === "") - (b.key === "");
    if (a.isNumber && b.isNumber) return a.direction * (Number(a.key) - Number(b.key));
    if (a.isNumber !== b.isNumber) return a.isNumber ? -1 : 1;
    return a.direction * a.key.localeCompare(b.key);
  }

  function sort(column) {
    const heading = headings[column];
    const direction = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    const keyed = rows.map((row) => {
      const cell = row.cells[column];
      const { key = cell.textContent, number } = cell.dataset;
      return { row, key, isNumber: number !== undefined, direction };
    });
    headings.forEach((other) => other.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    body.append(...keyed.sort(compare).map(({ row }) => row));
  }

  const find = byId("find");
  const state = byId("state");

  function filter() {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const content = row.textContent.toLowerCase();
      const fits = (!state.value || row.dataset.state === state.value)
        && words.every((word) => content.includes(word));
      row.hidden = !fits;
      shown += fits;
    }
    byId("shown").textContent = `${shown} of ${rows.length}`;
  }

  find.addEventListener("input", filter);
  state.addEventListener("change", filter);
  filter();
})();
