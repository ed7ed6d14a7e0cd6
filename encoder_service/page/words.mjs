// Numbers in words. Pure.

export const ACTIVE = new Set(["queued", "encoding"]);

export function bytes(count) {
  if (count < 1000) return `${count} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let value = count;
  let unit = "";
  for (unit of units) {
    value /= 1000;
    if (value < 999.5) break;
  }
  return `${value.toPrecision(3)} ${unit}`;
}

export function seconds(count) {
  const whole = Math.max(0, Math.round(count));
  const [minutes, rest] = [Math.floor(whole / 60), String(whole % 60).padStart(2, "0")];
  if (minutes < 60) return `${minutes}:${rest}`;
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
}

// What a result amounts to, as pairs of a name and a text.
export function figures(result) {
  const decibels = result.psnr_db === null ? "lossless" : `${result.psnr_db.toFixed(2)} dB`;
  return [
    ["size", bytes(result.stream_bytes)],
    ["of the source", `${(100 * result.stream_bytes / result.source_bytes).toPrecision(3)} %`],
    ["bits per pixel", result.bits_per_pixel.toFixed(4)],
    ["PSNR", decibels],
    ["encoded in", `${result.encode_seconds.toFixed(1)} s`],
    ["decodes at", `${result.decode_frames_per_second.toFixed(0)} frames/s`],
    ["video", `${result.width}x${result.height}, ${result.frames} frames`],
    ["preset", result.preset],
  ];
}

// The same in one line, as far as it matters in a list.
export function summary(result) {
  const [size, part, , quality] = figures(result).map(([, text]) => text);
  return `${size} (${part} of the source), ${quality}`;
}

export function state(encoding) {
  if (encoding.cancel_requested && ACTIVE.has(encoding.status)) return "cancelling";
  return encoding.phase === null ? encoding.status : `${encoding.status}: ${encoding.phase}`;
}

export function left(progress) {
  return progress.eta_seconds === null ? "" : `${seconds(progress.eta_seconds)} left`;
}
