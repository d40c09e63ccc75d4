"use strict";
{
  // What a cell is sorted by: its data-value, or the number it begins with, or its text; null is not measured.
  const valueOf = (cell) => {
    const text = (cell?.dataset.value ?? cell?.textContent ?? "").trim().replace("−", "-");
    if (text === "" || text === "—") return null;
    const [number] = /^[+-]?(\d[\d,]*\.?\d*|\.\d+)(e[+-]?\d+)?/i.exec(text) ?? [];
    return number === undefined ? text : Number(number.replaceAll(",", ""));
  };
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true }));

  // The header cells that stand above one column, by that column: a table's head may have two rows.
  const leaves = (table) => {
    const [taken, found] = [[], []];
    [...table.tHead.rows].forEach((row, y) => {
      let x = 0;
      for (const cell of row.cells) {
        while (taken[y]?.[x]) x++;
        for (let dy = 0; dy < cell.rowSpan; dy++) for (let dx = 0; dx < cell.colSpan; dx++) (taken[y + dy] ??= [])[x + dx] = true;
        if (cell.colSpan === 1 && y + cell.rowSpan === table.tHead.rows.length) found.push([cell, x]);
        x += cell.colSpan;
      }
    });
    return found;
  };

  const watch = (table) => {
    const body = table.tBodies[0];
    const asWritten = [...body.rows];
    const columns = leaves(table);
    const sort = (head, x) => {
      const values = new Map(asWritten.map((row) => [row, valueOf(row.cells[x])]));
      const isNumeric = [...values.values()].every((value) => value === null || typeof value === "number");
      const order = isNumeric ? ["descending", "ascending", "none"] : ["ascending", "descending", "none"];
      const next = order[(order.indexOf(head.getAttribute("aria-sort") ?? "none") + 1) % 3];
      columns.forEach(([cell]) => cell.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", next);
      const sign = next === "descending" ? -1 : 1;
      const measured = asWritten.filter((row) => values.get(row) !== null);
      if (next !== "none") measured.sort((a, b) => sign * compare(values.get(a), values.get(b)));
      body.append(...(next === "none" ? asWritten : [...measured, ...asWritten.filter((row) => values.get(row) === null)]));
    };
    for (const [head, x] of columns) {
      if (head.hasAttribute("data-unsorted")) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => sort(head, x));
    }
  };
  [...document.querySelectorAll("main table")].filter((table) => table.tHead && table.tBodies[0]?.rows.length > 1).forEach(watch);

  // On paper nothing can be opened: what is folded is printed, but for recipes, rollouts and the numbers of analyses, which are long.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("main details:not([open])")].filter((one) => !one.closest("#provenance, #rollouts, .numbers"));
    opened.forEach((one) => (one.open = true));
  });
  addEventListener("afterprint", () => opened.forEach((one) => (one.open = false)));
}
