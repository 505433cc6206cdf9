
"use strict";
// Headings become buttons that sort. Without this script the tables stand as ranked.

/** Sort a table by a column. Empty cells stay at the end. */
function sort(table, column, direction) {
  const body = table.tBodies[0];
  const sign = direction === "ascending" ? 1 : -1;
  const rows = [...body.rows].map((row) => ({ row, cell: row.cells[column] }));
  rows.sort((a, b) => {
    const [left, right] = [a.cell.textContent, b.cell.textContent];
    if (!left || !right) return !left - !right;
    const numbers = "value" in a.cell.dataset && "value" in b.cell.dataset;
    return sign * (numbers ? a.cell.dataset.value - b.cell.dataset.value : left.localeCompare(right));
  });
  body.append(...rows.map(({ row }) => row));
  for (const heading of table.tHead.rows[0].cells) heading.removeAttribute("aria-sort");
  table.tHead.rows[0].cells[column].setAttribute("aria-sort", direction);
}

for (const table of document.querySelectorAll("table.board"))
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    const first = heading.dataset.first ?? "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    button.addEventListener("click", () => sort(table, column, heading.getAttribute("aria-sort") === first ? other : first));
  });
