// The table of lesions and the totals, linked to whoever wants to go there.
import { byId, element } from "./api.js";
import { css } from "./colours.js";

export function heading(column) {
  const cell = element("th", { scope: "col", title: column.meaning }, column.name.replaceAll("_", " "));
  column.unit && cell.append(element("span", { class: "unit" }, column.unit));
  return cell;
}

export function dot(lesion) {
  const made = element("span", { class: "dot", "aria-hidden": "true" });
  made.style.background = css(lesion);
  return made;
}

// go(lesion) is called on a click anywhere in a row, or Enter on its number.
export function lesionTable(record, go) {
  const table = byId("lesions");
  const rows = record.lesions.map((lesion) => {
    const button = element("button", { type: "button", "aria-label": `Go to lesion ${lesion.number}` }, dot(lesion.number), String(lesion.number));
    const cells = lesion.cells.map((text) => element("td", {}, text));
    const row = element("tr", { class: "pick", "aria-selected": "false", "data-lesion": lesion.number, onclick: () => go(lesion) });
    row.append(element("th", { scope: "row" }, button), ...cells);
    return row;
  });
  const head = element("tr", {}, element("th", { scope: "col" }, "Lesion"), ...record.columns.map(heading));
  table.tHead.replaceChildren(head);
  table.tBodies[0].replaceChildren(...rows);
  table.hidden = !rows.length;
  byId("no-lesions").hidden = rows.length > 0;
  byId("notes").replaceChildren(...record.notes.map((note) => element("li", {}, note)));
}

export function mark(lesion) {
  for (const row of document.querySelectorAll("#lesions tr[data-lesion]")) {
    row.setAttribute("aria-selected", String(Number(row.dataset.lesion) === lesion));
  }
}

export function totals(record) {
  const items = record.totals.map(({ name, unit, value, meaning }) =>
    element("li", { title: meaning }, element("span", { class: "name" }, name.replaceAll("_", " ")),
      element("b", {}, value), ` ${unit}`));
  byId("totals").replaceChildren(...items);
}
