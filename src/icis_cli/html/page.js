"use strict";
(() => {
  // Tables sort by the number of a cell where it has one, else by its words; empty cells come last.
  const value = (row, column) => {
    const cell = row.cells[column];
    if ("v" in cell.dataset) {
      return Number(cell.dataset.v);
    }
    return cell.classList.contains("number") ? null : cell.textContent;
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number"
    ? a - b
    : String(a).localeCompare(String(b), "en", { numeric: true }));

  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const keyed = [...table.tBodies[0].rows].map((row) => [value(row, column), row]);
        keyed.sort(([a], [b]) => {
          if (a === null || b === null) {
            return (a === null) - (b === null);
          }
          return down ? compare(b, a) : compare(a, b);
        });
        table.tBodies[0].append(...keyed.map(([, row]) => row));
      });
    });
  }

  const search = document.querySelector(".search");
  if (search) {
    const rows = [...document.querySelector("#classes tbody").rows];
    const words = rows.map((row) => row.textContent.toLowerCase());
    const field = search.querySelector("input");
    const count = search.querySelector("output");
    const show = () => {
      const wanted = field.value.trim().toLowerCase();
      let found = 0;
      rows.forEach((row, at) => {
        row.hidden = !words[at].includes(wanted);
        found += row.hidden ? 0 : 1;
      });
      count.textContent = `${found} of ${rows.length}`;
    };
    field.addEventListener("input", show);
    search.hidden = false;
    show();
  }

  const map = document.querySelector("svg.map");
  const told = document.querySelector(".told");
  if (map && told) {
    const tell = (event) => {
      const title = event.target.querySelector(":scope > title");
      if (title) {
        told.textContent = title.textContent;
      }
    };
    map.addEventListener("pointerover", tell);
    map.addEventListener("click", tell);
  }
})();
