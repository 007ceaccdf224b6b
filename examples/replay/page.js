// Sorts by the column that the address names: #sort=3 upward, #sort=-3 downward, counted from 1.
const table = document.querySelector("table"), heads = [...table.tHead.rows[0].cells];
const sort = () => {
  const wanted = Number((location.hash.match(/^#sort=(-?\d+)$/) || [])[1]), at = Math.abs(wanted) - 1;
  if (!heads[at]) return;
  const value = row => row.cells[at].dataset.v ?? row.cells[at].textContent, body = table.tBodies[0];
  const order = (a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === "" || y === "") return (x === "") - (y === ""); // what is missing comes last
    const less = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
    return wanted < 0 ? -less : less;
  };
  body.append(...[...body.rows].sort(order));
  heads.forEach((head, i) => head.setAttribute("aria-sort", i !== at ? "none" : wanted < 0 ? "descending" : "ascending"));
};
heads.forEach((head, i) => head.firstChild.addEventListener("click", () => {
  location.hash = "sort=" + (head.getAttribute("aria-sort") === "ascending" ? -i - 1 : i + 1);
}));
addEventListener("hashchange", sort);
sort();
