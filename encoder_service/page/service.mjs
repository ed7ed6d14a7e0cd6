// The service as this page sees it. Knows nothing of the document, so it runs in a test as well.

const PART_TRIES = 3;

export class Refusal extends Error {
  constructor(status, code, detail) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

export class Service {
  // fetch and XMLHttpRequest are the browser's, or stand-ins; origin is where the page came from.
  constructor(key, { fetch, XMLHttpRequest, origin }) {
    this.key = key;
    this.fetch = fetch;
    this.XMLHttpRequest = XMLHttpRequest;
    this.origin = origin;
  }

  async get(path, options = {}) {
    return this.ask("GET", path, options);
  }

  async json(method, path, body) {
    const options = body === undefined ? {} : {
      body: JSON.stringify(body),
      headers: { "Content-Type": "application/json" },
    };
    return (await this.ask(method, path, options)).json();
  }

  async ask(method, path, { headers = {}, ...options } = {}) {
    const answer = await this.fetch(path, {
      method,
      headers: { ...headers, Authorization: `Bearer ${this.key}` },
      ...options,
    }).catch(() => {
      throw new Refusal(0, "unreachable", "the service does not answer");
    });
    if (!answer.ok) throw refusalOf(answer.status, await answer.text());
    return answer;
  }

  // What may be chosen, as the service describes itself.
  async choices() {
    const document = await this.json("GET", "/openapi.json");
    const body = document.paths["/v1/encodings"].post.requestBody;
    const { preset } = body.content["application/json"].schema.properties;
    return { presets: preset.enum, preset: preset.default };
  }

  // Sends a file and asks for its encoding; onProgress is told the part of it that is sent, 0 to 1.
  async submit(file, options, onProgress) {
    const upload = await this.json("POST", "/v1/uploads", { size_bytes: file.size });
    const [first] = upload.missing_parts;
    // A bucket elsewhere may not let this page in; the API always does.
    if (first && new URL(first.url).origin !== this.origin) {
      return this.submitForm(file, options, onProgress);
    }
    await this.sendParts(upload, file, onProgress);
    return this.json("POST", "/v1/encodings", { ...options, source: upload.source });
  }

  async sendParts(upload, file, onProgress) {
    const path = `/v1/uploads/${encodeURIComponent(upload.id)}`;
    let tries = 0;
    while (upload.missing_parts.length > 0) {
      let done = file.size - left(upload, file);
      try {
        for (const part of upload.missing_parts) {
          const start = (part.number - 1) * upload.part_bytes;
          const body = file.slice(start, start + part.size_bytes);
          await this.send("PUT", part.url, body, (sent) => onProgress((done + sent) / file.size));
          done += part.size_bytes;
          tries = 0;
        }
      } catch (error) {
        tries += 1;
        if (tries === PART_TRIES) throw error;
      }
      upload = await this.json("GET", path); // parts that are here already are not sent again
    }
    await this.json("POST", `${path}/complete`);
  }

  async submitForm(file, options, onProgress) {
    const form = new FormData();
    for (const [name, value] of Object.entries(options)) form.append(name, String(value));
    form.append("file", file, file.name);
    const headers = { Authorization: `Bearer ${this.key}` };
    const report = (sent) => onProgress(Math.min(1, sent / file.size));
    return JSON.parse(await this.send("POST", "/v1/encodings", form, report, headers));
  }

  // Unlike fetch, an XMLHttpRequest tells how much of the body is sent.
  send(method, url, body, onSent, headers = {}) {
    return new Promise((resolve, reject) => {
      const request = new this.XMLHttpRequest();
      request.open(method, url);
      for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
      request.upload.onprogress = (event) => onSent(event.loaded);
      request.onload = () => {
        if (request.status >= 200 && request.status < 300) resolve(request.responseText);
        else reject(refusalOf(request.status, request.responseText));
      };
      request.onerror = () => reject(new Refusal(0, "unreachable", "the connection was lost"));
      request.send(body);
    });
  }
}

// How many bytes of a file are not here yet. Only the first of many parts are listed as missing.
function left(upload, file) {
  const stored = upload.stored_parts.reduce((sum, number) => {
    const start = (number - 1) * upload.part_bytes;
    return sum + Math.min(upload.part_bytes, file.size - start);
  }, 0);
  return file.size - stored;
}

function refusalOf(status, text) {
  try {
    const { code, detail } = JSON.parse(text);
    return new Refusal(status, code, detail);
  } catch {
    return new Refusal(status, "unknown", `the service answered ${status}`);
  }
}
