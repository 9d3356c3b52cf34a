// Sorts tables: a heading is a button that sorts by its column, upwards, downwards, then as it was. Without it the page is whole.
"use strict";

for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  const headings = [...table.tHead.rows[0].cells];
  if (original.length < 2) continue;

  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    heading.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const next = { none: "ascending", ascending: "descending", descending: "none" }[heading.getAttribute("aria-sort")];
      headings.forEach((other) => other.setAttribute("aria-sort", "none"));
      heading.setAttribute("aria-sort", next);
      body.append(...(next === "none" ? original : sorted(original, column, next === "ascending" ? 1 : -1)));
    });
  });
}

// Rows in the order of a column; those without a value stay last either way.
function sorted(rows, column, sign) {
  const numbers = rows.some((row) => row.cells[column].dataset.value !== undefined);
  const keyed = rows.map((row) => {
    const cell = row.cells[column];
    const text = (cell.querySelector("bdi") ?? cell).textContent.trim(); // a row's name without its flags
    const key = numbers ? (cell.dataset.value === undefined ? null : Number(cell.dataset.value)) : text || null;
    return { row, key };
  });
  keyed.sort((one, other) => {
    if (one.key === null || other.key === null) return (one.key === null) - (other.key === null);
    return sign * (numbers ? one.key - other.key : one.key.localeCompare(other.key, "en", { numeric: true }));
  });
  return keyed.map((entry) => entry.row);
}
