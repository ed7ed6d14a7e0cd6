// The page: what is on it, and what happens when somebody touches it. Text goes in as text only.

import { Service } from "./service.mjs";
import { ACTIVE, bytes, figures, left, state, summary } from "./words.mjs";

const KEY = "nrv-api-key";
const POLL_MS = 1500;
const PAGE = 20;
const FRAME_WIDTH = 960;

const $ = (id) => document.getElementById(id);
const files = new Map(); // by id of the encoding: the file that this page sent
const rows = new Map(); // by id of the encoding: its row, and which buttons it has
let service = null;
let shown = PAGE;
let chosen = null; // the encoding whose result is shown
let drawing = false; // a frame is on its way
let timer = null;
let unheard = false; // the last look at the list was in vain

// Small things

function problem(error) {
  $("problem").textContent = error === null ? "" : error.message;
  $("problem").hidden = error === null;
  if (error !== null && error.status === 401) signOut();
}

function attempt(action) {
  return async (event) => {
    event?.preventDefault();
    problem(null);
    try {
      await action(event);
    } catch (error) {
      problem(error);
    }
  };
}

function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text !== null) made.textContent = text;
  made.append(...children);
  return made;
}

function button(text, action) {
  const made = element("button", text);
  made.type = "button";
  made.addEventListener("click", attempt(action));
  return made;
}

// An element shows bytes that only a request with the key can get.
function show(target, blob) {
  if (target.src.startsWith("blob:")) URL.revokeObjectURL(target.src);
  if (blob === null) target.removeAttribute("src");
  else target.src = URL.createObjectURL(blob);
}

// Signing in and out

async function signIn(key) {
  service = new Service(key, {
    fetch: (...wanted) => fetch(...wanted),
    XMLHttpRequest,
    origin: location.origin,
  });
  await service.get("/v1/encodings?limit=1");
  sessionStorage.setItem(KEY, key);
  const { presets, preset } = await service.choices();
  $("preset").replaceChildren(...presets.map((name) => new Option(name, name)));
  $("preset").value = preset;
  $("login").hidden = true;
  $("work").hidden = $("forget").hidden = false;
  await refresh();
}

function signOut() {
  sessionStorage.removeItem(KEY);
  clearTimeout(timer);
  service = chosen = null;
  files.clear();
  rows.clear();
  $("rows").replaceChildren();
  $("key").value = "";
  $("work").hidden = $("forget").hidden = $("result").hidden = true;
  $("login").hidden = false;
}

// Uploading

// Until the slider is moved the preset chooses: it may seek a PSNR instead.
function showQuality() {
  $("quality-shown").textContent = $("quality").value;
}

async function upload() {
  const [file] = $("file").files;
  const options = { preset: $("preset").value };
  if ($("quality-shown").textContent) options.quality = Number($("quality").value);
  if ($("budget").value) options.budget_seconds = Number($("budget").value);
  $("send").disabled = true;
  $("sending").hidden = false;
  try {
    const encoding = await service.submit(file, options, (part) => {
      $("sent").value = part;
      $("sent-text").textContent = `${Math.round(100 * part)} % of ${bytes(file.size)}`;
    });
    files.set(encoding.id, file);
    $("file").value = "";
  } finally {
    $("send").disabled = false;
    $("sending").hidden = true;
    $("sent").value = 0;
  }
  await refresh();
}

// The list

async function refresh() {
  clearTimeout(timer);
  if (service === null) return;
  try {
    const list = await service.json("GET", `/v1/encodings?limit=${shown}`);
    const details = await Promise.all(list.items.map((item) => (
      ACTIVE.has(item.status) ? service.json("GET", item.links.self) : item
    )));
    if (unheard) problem(null);
    unheard = false;
    showRows(details.map(rowOf));
    $("none").hidden = details.length > 0;
    $("encodings").hidden = details.length === 0;
    $("more").hidden = list.next_cursor === null || shown >= 200;
    if (chosen === null) {
      const done = details.find((each) => each.status === "succeeded" && files.has(each.id));
      if (done !== undefined) attempt(() => choose(done))();
    }
  } catch (error) {
    unheard = true;
    problem(error);
  }
  if (service !== null) timer = setTimeout(refresh, POLL_MS);
}

// Rows stay the same elements while they can: somebody may be about to press a button.
function showRows(wanted) {
  const present = $("rows").children;
  const same = wanted.length === present.length && wanted.every((row, at) => row === present[at]);
  if (!same) $("rows").replaceChildren(...wanted);
}

function rowOf(encoding) {
  const buttons = `${encoding.status} ${encoding.cancel_requested}`;
  let known = rows.get(encoding.id);
  if (known === undefined || known.buttons !== buttons) {
    known = { buttons, row: row(encoding) };
    rows.set(encoding.id, known);
  } else if (ACTIVE.has(encoding.status)) {
    known.row.children[2].textContent = state(encoding);
    known.row.children[3].replaceWith(progress(encoding));
  }
  return known.row;
}

function row(encoding) {
  const made = element("tr", null,
    element("td", new Date(encoding.created_at).toLocaleString()),
    element("td", encoding.settings.preset),
    element("td", state(encoding)),
    progress(encoding),
    element("td", null, ...actions(encoding)));
  made.classList.toggle("chosen", chosen !== null && chosen.id === encoding.id);
  made.title = encoding.id;
  return made;
}

function progress(encoding) {
  if (encoding.status === "failed") {
    const reason = element("span", encoding.error_message ?? encoding.error_code ?? "");
    reason.className = "problem";
    return element("td", null, reason);
  }
  if (encoding.result !== null) {
    return element("td", summary(encoding.result));
  }
  if (encoding.progress === undefined) return element("td", "");
  const bar = element("progress", null);
  const { frames_done: done, frames_total: total } = encoding.progress;
  if (total) {
    const running = encoding.segments.filter((segment) => segment.status === "leased");
    bar.max = total;
    bar.value = done + running.reduce((sum, segment) => sum + segment.frames_so_far, 0);
  }
  return element("td", null, bar, ` ${left(encoding.progress)}`);
}

function actions(encoding) {
  const act = (method, path) => async () => {
    await service.json(method, path);
    await refresh();
  };
  const path = encoding.links.self;
  if (encoding.status === "succeeded") return [button("Look", () => choose(encoding))];
  if (!ACTIVE.has(encoding.status)) return [button("Try again", act("POST", `${path}/retry`))];
  return encoding.cancel_requested ? [] : [button("Cancel", act("DELETE", path))];
}

// The result

async function choose(encoding) {
  chosen = encoding;
  for (const each of $("rows").children) each.classList.toggle("chosen", each.title === encoding.id);
  $("result-id").textContent = encoding.id;
  $("figures").replaceChildren(...figures(encoding.result).map(([name, text]) => (
    element("div", null, element("dt", name), element("dd", text))
  )));
  const warnings = encoding.result.warnings ?? [];
  $("warnings").textContent = warnings.join(" ");
  $("warnings").hidden = warnings.length === 0;
  $("result").hidden = false;
  $("preview").hidden = true;
  show($("preview"), null);
  const file = files.get(encoding.id) ?? null;
  show($("source"), file);
  $("source-caption").textContent = file === null
    ? "The source is shown by the page that sent it, until it is closed." : "Source";
  $("source").hidden = file === null;
  $("frame").max = encoding.result.frames - 1;
  $("frame").value = Math.floor(encoding.result.frames / 2);
  await showFrame();
}

// One request at a time; whoever slides on meanwhile gets the latest frame next.
async function showFrame() {
  showNumber();
  if (drawing) return;
  drawing = true;
  $("decoded-caption").textContent = "Decoding...";
  try {
    let drawn = null;
    while (chosen !== null && drawn !== wanted()) {
      drawn = wanted();
      const answer = await service.get(drawn);
      show($("decoded"), await answer.blob());
    }
    if (chosen !== null) {
      $("decoded-caption").textContent = `Decoded from ${bytes(chosen.result.stream_bytes)}`;
    }
  } catch (error) {
    $("decoded-caption").textContent = "This frame cannot be shown now.";
    throw error;
  } finally {
    drawing = false;
  }
}

function showNumber() {
  const number = Number($("frame").value);
  const { frames, fps } = chosen.result;
  $("frame-shown").textContent = `${number} (of ${frames}, from 0)`;
  if (!$("source").hidden && fps) $("source").currentTime = (number + 0.5) / fps;
}

function wanted() {
  return chosen.links.frames.replace("{number}", $("frame").value).replace("{format}", "jpg")
    .replace("{?width}", `?width=${FRAME_WIDTH}`);
}

async function download() {
  const answer = await service.get(`${chosen.links.stream}?direct=true`);
  const link = element("a", null);
  link.href = URL.createObjectURL(await answer.blob());
  link.download = `${chosen.id}.nrv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

async function watch() {
  const answer = await service.get(chosen.links.preview);
  show($("preview"), await answer.blob());
  $("preview").hidden = false;
  await $("preview").play();
}

// What begins it all

$("login").addEventListener("submit", attempt(() => signIn($("key").value.trim())));
$("forget").addEventListener("click", signOut);
$("upload").addEventListener("submit", attempt(upload));
$("quality").addEventListener("input", showQuality);
$("more").addEventListener("click", attempt(() => {
  shown += PAGE;
  return refresh();
}));
$("frame").addEventListener("input", attempt(showFrame));
$("download").addEventListener("click", attempt(download));
$("watch").addEventListener("click", attempt(watch));
$("source").addEventListener("error", () => {
  if (!$("source").hasAttribute("src")) return;
  $("source").hidden = true;
  $("source-caption").textContent = "This browser cannot play the source.";
});

// A key may come behind the #, which no server sees; it does not stay in the address.
const given = location.hash.startsWith("#nrv_") ? location.hash.slice(1) : null;
if (given !== null) history.replaceState(null, "", location.pathname);
const key = given ?? sessionStorage.getItem(KEY);
if (key === null) signOut();
else {
  attempt(() => signIn(key))().then(() => {
    $("login").hidden = !$("work").hidden; // with the problem above it
  });
}
