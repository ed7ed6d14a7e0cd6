// The page's own logic, run by node: see test_page.py.

import assert from "node:assert/strict";
import test from "node:test";

import { Refusal, Service } from "../../../../encoder_service/page/service.mjs";
import { bytes, figures, left, seconds, state, summary } from "../../../../encoder_service/page/words.mjs";

const ORIGIN = "http://here:8000";

// A service in memory: parts of uploads, and a wish to fail so often.
class Fake {
  constructor({ partBytes = 10, links = ORIGIN, failures = 0 } = {}) {
    Object.assign(this, { partBytes, links, failures });
    this.parts = new Map();
    this.requests = [];
    const fake = this;
    this.XMLHttpRequest = class {
      constructor() { this.upload = {}; this.headers = {}; }
      open(method, url) { Object.assign(this, { method, url }); }
      setRequestHeader(name, value) { this.headers[name] = value; }
      send(body) { fake.receive(this, body); }
    };
  }

  service(key = "nrv_1") {
    return new Service(key, {
      fetch: (path, options) => this.fetch(path, options),
      XMLHttpRequest: this.XMLHttpRequest,
      origin: ORIGIN,
    });
  }

  upload() {
    const count = Math.ceil(this.size / this.partBytes);
    const numbers = Array.from({ length: count }, (_, index) => index + 1);
    const missing = numbers.filter((number) => !this.parts.has(number)).slice(0, 2);
    return {
      id: "upl/1",
      source: "upload:1",
      part_bytes: this.partBytes,
      stored_parts: [...this.parts.keys()],
      missing_parts: missing.map((number) => ({
        number,
        size_bytes: Math.min(this.partBytes, this.size - (number - 1) * this.partBytes),
        url: `${this.links}/part/${number}`,
      })),
    };
  }

  async fetch(path, { method, headers, body }) {
    this.requests.push(`${method} ${path}`);
    if (headers.Authorization !== "Bearer nrv_1") {
      return Response.json({ code: "access.unauthenticated", detail: "no" }, { status: 401 });
    }
    if (path === "/v1/uploads") this.size = JSON.parse(body).size_bytes;
    if (path === "/broken") return new Response("<html>", { status: 502 });
    if (path === "/v1/encodings") return Response.json({ id: "enc_1", ...JSON.parse(body) });
    return Response.json(this.upload());
  }

  async receive(request, body) {
    this.requests.push(`${request.method} ${request.url}`);
    if (this.failures > 0) {
      this.failures -= 1;
      request.onerror();
      return;
    }
    if (body instanceof FormData) {
      this.form = Object.fromEntries(body);
      request.upload.onprogress({ loaded: this.form.file.size + 500 });
      Object.assign(request, { status: 202, responseText: '{"id": "enc_form"}' });
    } else {
      const number = Number(request.url.split("/").at(-1));
      this.parts.set(number, await body.text());
      request.upload.onprogress({ loaded: body.size });
      request.status = 200;
    }
    request.onload();
  }
}

const file = new File(["0123456789abcdefghijABCDE"], "clip.mp4");

test("a file goes up in parts, in order, and is submitted", async () => {
  const fake = new Fake();
  const progress = [];
  const options = { preset: "debug", quality: 40 };
  const encoding = await fake.service().submit(file, options, (part) => progress.push(part));
  assert.deepEqual(encoding, { id: "enc_1", preset: "debug", quality: 40, source: "upload:1" });
  assert.deepEqual([...fake.parts.values()], ["0123456789", "abcdefghij", "ABCDE"]);
  assert.deepEqual(progress, [0.4, 0.8, 1]);
  assert.ok(fake.requests.includes("POST /v1/uploads/upl%2F1/complete"));
});

test("a part that is lost is sent again, and only that one", async () => {
  const fake = new Fake({ failures: 2 });
  await fake.service().submit(file, {}, () => {});
  assert.equal(fake.requests.filter((each) => each.startsWith("PUT")).length, 5);
  assert.equal(fake.parts.size, 3);
});

test("a service that stays away is said", async () => {
  const fake = new Fake({ failures: 99 });
  await assert.rejects(fake.service().submit(file, {}, () => {}), /connection was lost/);
  assert.equal(fake.requests.filter((each) => each.startsWith("PUT")).length, 3);
});

test("what cannot go to a bucket elsewhere goes through the API", async () => {
  const fake = new Fake({ links: "https://bucket.example" });
  const progress = [];
  const encoding = await fake.service().submit(file, { preset: "debug" }, (part) => progress.push(part));
  assert.equal(encoding.id, "enc_form");
  assert.equal(fake.form.preset, "debug");
  assert.equal(await fake.form.file.text(), await file.text());
  assert.deepEqual(progress, [1]);
});

test("refusals keep their words", async () => {
  await assert.rejects(new Fake().service("nrv_2").get("/"), (error) => (
    error instanceof Refusal && error.status === 401 && error.code === "access.unauthenticated"
  ));
  await assert.rejects(new Fake().service().get("/broken"), /the service answered 502/);
  const away = new Fake();
  away.fetch = async () => { throw new TypeError("Failed to fetch"); };
  await assert.rejects(away.service().get("/"), /the service does not answer/);
});

test("the service says what can be chosen", async () => {
  const fake = new Fake();
  const schema = { properties: { preset: { enum: ["a", "b"], default: "b" } } };
  const body = { content: { "application/json": { schema } } };
  fake.fetch = async () => Response.json({ paths: { "/v1/encodings": { post: { requestBody: body } } } });
  assert.deepEqual(await fake.service().choices(), { presets: ["a", "b"], preset: "b" });
});

test("numbers in words", () => {
  assert.deepEqual([0, 999, 1000, 18917, 999499, 2.5e9, 7e15].map(bytes),
    ["0 B", "999 B", "1.00 kB", "18.9 kB", "999 kB", "2.50 GB", "7.00e+3 TB"]);
  assert.deepEqual([0, 59.6, 3600, 3725].map(seconds), ["0:00", "1:00", "1:00:00", "1:02:05"]);
  assert.equal(left({ eta_seconds: 61 }), "1:01 left");
  assert.equal(left({ eta_seconds: null }), "");
});

test("states and results", () => {
  assert.equal(state({ status: "encoding", phase: "plan", cancel_requested: false }), "encoding: plan");
  assert.equal(state({ status: "encoding", phase: "plan", cancel_requested: true }), "cancelling");
  assert.equal(state({ status: "cancelled", phase: null, cancel_requested: true }), "cancelled");
  const result = {
    stream_bytes: 1000, source_bytes: 30000, bits_per_pixel: 0.05, psnr_db: null, encode_seconds: 9,
    decode_frames_per_second: 40.4, width: 64, height: 48, frames: 8, preset: "debug",
  };
  assert.equal(new Map(figures(result)).get("PSNR"), "lossless");
  assert.equal(summary(result), "1.00 kB (3.33 % of the source), lossless");
});
