"use strict";
// The page's own script: tables as Markdown, figures as files, and the browser of rollouts. Texts of a run become text
// nodes and nothing else, so that none of them can be read as markup. The browser draws the rows that are in sight, and
// unpacks a part of the texts when one of its rollouts is shown.

const data = (id) => {
  const element = document.getElementById(id);
  return element === null ? null : JSON.parse(element.textContent);
};

const make = (name, attributes = {}, ...children) => {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
};

// ---- tables and figures ------------------------------------------------------------------------

function markdown(table) {
  const cell = (element) => element.textContent.replace(/\\/g, "\\\\").replace(/\|/g, "\\|").replace(/\s+/g, " ").trim();
  const rows = [...table.rows].map((row) => [...row.cells].map(cell));
  const words = [...table.rows[0].cells].map((element) => (element.classList.contains("word") ? "---" : "---:"));
  return [rows[0], words, ...rows.slice(1)].map((row) => `| ${row.join(" | ")} |`).join("\n") + "\n";
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Some browsers give pages from a disk no clipboard; the old command asks nobody.
    const area = make("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

function saveFigure(figure, name) {
  const svg = figure.querySelector("svg").cloneNode(true);
  let text = new XMLSerializer().serializeToString(svg);
  // On its own the file has no variables: the colours of the light page take their place.
  for (const [variable, colour] of Object.entries(data("colours"))) text = text.replaceAll(`var(${variable})`, colour);
  const link = make("a", { download: `figure-${name}.svg`, href: URL.createObjectURL(new Blob([text], { type: "image/svg+xml" })) });
  link.click();
  URL.revokeObjectURL(link.href);
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (button === null) return;
  if (button.classList.contains("copy")) {
    await copied(markdown(button.closest(".table").querySelector("table")));
    const before = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = before; }, 1200);
  } else if (button.classList.contains("save")) {
    saveFigure(button.closest("figure"), button.dataset.name);
  }
});

// ---- texts of the rollouts ---------------------------------------------------------------------

async function unpacked(element) {
  const bytes = Uint8Array.from(atob(element.textContent), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

const loaded = new Promise((resolve) => {
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", resolve);
  else resolve();
});
const kept = new Map(); // parts that were shown last; a page of many would fill the memory

async function part(id) {
  if (!kept.has(id)) {
    let element = document.getElementById(id);
    if (element === null || element.nextElementSibling === null) { // the parser may still be in it
      await loaded;
      element = document.getElementById(id);
    }
    kept.set(id, unpacked(element));
    const others = [...kept.keys()].filter((key) => key !== id && key !== "pieces");
    if (others.length > 4) kept.delete(others[0]);
  }
  return kept.get(id);
}

// Tokens as texts: a token that is a part of a character gives its bytes to the next one.
function texts(ids, pieces) {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const found = ids.map((id) => decoder.decode(Uint8Array.from(pieces[id], (c) => c.charCodeAt(0)), { stream: true }));
  const rest = decoder.decode();
  if (rest !== "" && found.length > 0) found[found.length - 1] += rest;
  return found;
}

function nats(byte, heat) {
  return heat.scale * Math.expm1((byte / 255) * Math.log1p(heat.most / heat.scale));
}

function heated(ids, packedHeat, pieces, heat) {
  const words = texts(ids, pieces);
  if (packedHeat === null) return [words.join("")];
  const bytes = Uint8Array.from(atob(packedHeat), (c) => c.charCodeAt(0));
  return words.map((word, i) => {
    const value = nats(bytes[i], heat);
    // Below a hundredth of a nat nothing is seen; from there on the scale is logarithmic.
    const strength = Math.max(0, Math.min(1, (Math.log10(value + 1e-9) + 2) / 2.7));
    const token = make("span", { title: `${value < 0.001 ? "< 0.001" : value.toPrecision(2)} nats` }, word);
    if (strength > 0) token.style.backgroundColor = `rgba(var(--heat), ${(0.85 * strength).toFixed(3)})`;
    return token;
  });
}

function marked(ids, spans, pieces) {
  const words = texts(ids, pieces);
  const found = [];
  let at = 0;
  for (const [name, start, end] of spans) {
    if (start > at) found.push(words.slice(at, start).join(""));
    const mark = make("mark", { class: name, title: name === "template" ? "the context's own words" : name });
    if (name !== "template") mark.append(make("span", { class: "tag" }, name));
    mark.append(words.slice(start, end).join(""));
    found.push(mark);
    at = end;
  }
  found.push(words.slice(at).join(""));
  return found;
}

// ---- the browser -------------------------------------------------------------------------------

const ROW = 44; // pixels, as in the style
const index = data("index");

function browser() {
  const list = document.getElementById("list");
  const space = document.getElementById("space");
  const detail = document.getElementById("rollout");
  const form = document.getElementById("filters");
  const control = (name) => form.elements.namedItem(name);
  const total = index.step.length;
  const firsts = []; // of each part: the number of its first rollout
  index.parts.reduce((sum, count) => { firsts.push(sum); return sum + count; }, 0);
  let shown = [];
  let chosen = -1;
  let drawing = 0;

  const name = (i) => index.problems[index.problem[i]];
  const verdict = (i) => index.verdicts[index.verdict[i]];
  const passedClass = (i) => (index.passed[i] === 1 ? "yes" : index.passed[i] === 0 ? "no" : "");
  const klOf = (i) => (index.kl[i] === null ? "no KL" : `KL ${index.kl[i].toPrecision(2)}`);

  function fill(select, values, all, label = (value) => value) {
    select.append(new Option(all, ""), ...values.map((value) => new Option(label(value), String(value))));
  }
  const counts = index.verdicts.map(() => 0);
  for (const place of index.verdict) counts[place] += 1;
  fill(control("verdict"), index.verdicts.map((_, i) => i), `all (${total})`, (i) => `${index.verdicts[i]} (${counts[i]})`);
  fill(control("step"), [...new Set(index.step)].sort((a, b) => a - b), "all");
  fill(control("run"), index.runs.map((_, i) => i), "all", (i) => index.runs[i]);
  document.getElementById("problems").append(...index.problems.map((problem) => new Option(problem)));

  function filter() {
    const wanted = Object.fromEntries(["verdict", "step", "run"].map((key) => [key, control(key).value]));
    const word = control("problem").value.trim().toLowerCase();
    const problems = index.problems.map((problem) => problem.toLowerCase().includes(word));
    shown = [];
    for (let i = 0; i < total; i += 1) {
      if (wanted.verdict !== "" && index.verdict[i] !== Number(wanted.verdict)) continue;
      if (wanted.step !== "" && index.step[i] !== Number(wanted.step)) continue;
      if (wanted.run !== "" && index.run[i] !== Number(wanted.run)) continue;
      if (problems[index.problem[i]]) shown.push(i);
    }
    const key = control("order").value;
    if (key !== "") shown.sort((a, b) => (index[key][b] ?? -1) - (index[key][a] ?? -1) || a - b);
    document.getElementById("count").textContent = `${shown.length} of ${total}`;
    space.style.height = `${shown.length * ROW}px`;
    list.scrollTop = 0;
    draw();
  }

  function rowElement(place) {
    const i = shown[place];
    const row = make(
      "div",
      { class: i === chosen ? "row chosen" : "row", role: "option", "aria-selected": String(i === chosen), "data-i": i },
      make("div", {}, make("span", { class: "what" }, name(i)), make("span", { class: `verdict ${passedClass(i)}` }, verdict(i))),
      make(
        "div", { class: "less" },
        make("span", { class: "what" }, `step ${index.step[i]} · sample ${index.sample[i]}${index.runs.length > 1 ? ` · ${index.runs[index.run[i]]}` : ""}`),
        make("span", {}, `${index.tokens[i]} tokens · ${klOf(i)}`),
      ),
    );
    row.style.top = `${place * ROW}px`;
    return row;
  }

  // Only the rows in sight and a few around them exist.
  function draw() {
    const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 5);
    const last = Math.min(shown.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + 5);
    space.replaceChildren(...Array.from({ length: last - first }, (_, k) => rowElement(first + k)));
  }

  async function choose(i) {
    chosen = i;
    draw();
    const mine = ++drawing;
    let place = firsts.length - 1;
    while (firsts[place] > i) place -= 1;
    let content;
    try {
      const [found, pieces] = await Promise.all([part(`part-${place}`), part("pieces")]);
      content = view(i, found.rows[i - firsts[place]], found.prompts, pieces);
    } catch (error) {
      content = [make("p", { class: "absent" }, `This browser cannot unpack the rollouts (${error.message}).`)];
    }
    if (mine !== drawing) return; // another one was chosen meanwhile
    detail.replaceChildren(...content);
    detail.scrollTop = 0;
    if (performance.getEntriesByName("first rollout").length === 0) performance.mark("first rollout");
  }

  function view(i, row, prompts, pieces) {
    const head = make("h3", {}, name(i), make("span", { class: `verdict ${passedClass(i)}` }, verdict(i)));
    const facts = [
      `step ${index.step[i]}`, `sample ${index.sample[i]}`, index.runs[index.run[i]], `context ${index.contexts[index.run[i]]}`,
      `${index.tokens[i]} tokens${row.truncated ? ", truncated" : ""}`, `teacher's row: ${row.status || "unknown"}`, ...row.flags,
    ];
    const found = [head, make("p", { class: "caption" }, facts.join(" · "))];
    const text = (title, children, extra = []) => {
      found.push(make("h3", {}, title, ...extra), make("pre", { class: "text" }, ...children));
    };
    const scale = make("span", { class: "scale" }, "0.01", make("i"), "5 nats");
    if (row.text !== undefined) {
      text("Completion", [row.text], [make("small", {}, "as text: this run has no tokens.parquet")]);
    } else {
      const none = make("small", {}, "no KL: the rollout was not trained, or the run did not keep it");
      text("Completion", heated(row.completion, row.heat, pieces, index.heat), [row.heat === null ? none : scale]);
    }
    text("Feedback", [row.feedback || "none: every test passed, or there is nothing to say"]);
    if (row.text === undefined) {
      const same = row.spans.length === 0;
      const said = same ? "the student's prompt, nothing privileged" : "marked: what the student did not read";
      text("The teacher's view", marked(prompts[row.teacher], row.spans, pieces), [make("small", {}, said)]);
      text("Prompt", [texts(prompts[row.prompt], pieces).join("")]);
    }
    return found;
  }

  list.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
  list.addEventListener("click", (event) => {
    const row = event.target.closest(".row");
    if (row !== null) choose(Number(row.dataset.i));
  });
  list.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key];
    if (step === undefined || shown.length === 0) return;
    event.preventDefault();
    const place = Math.max(0, Math.min(shown.length - 1, shown.indexOf(chosen) + step));
    if (place * ROW < list.scrollTop) list.scrollTop = place * ROW;
    if ((place + 1) * ROW > list.scrollTop + list.clientHeight) list.scrollTop = (place + 1) * ROW - list.clientHeight;
    choose(shown[place]);
  });
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  new ResizeObserver(draw).observe(list);
  filter();
  performance.mark("first row");
  if (shown.length > 0) choose(shown[0]);
}

if (index !== null) browser();
