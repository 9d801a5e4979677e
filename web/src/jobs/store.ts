// The jobs that this page has seen: in answers, in streams that the user started, in streams of its own.
// Kept for as long as the browser tab lives, so that a reload goes on after the last event.
import type { ExecutionResult } from "graphql";
import { useSyncExternalStore } from "react";

export interface Line {
  seq: number;
  type: string;
  at: string;
  text: string;
  percent: number | null;
}

export type Watch = "seen" | "live" | "stopped" | "ended" | "broken";

export interface Job {
  id: string;
  title: string;
  status: string;
  progress: number;
  count: string;
  canCancel: boolean;
  lastSeq: number;
  lines: Line[];
  watch: Watch;
  problem: string;
}

type Fields = Record<string, unknown>;

const storageKey = "holdfast:jobs";
const keptJobs = 20;
const keptLines = 500;
const terminal = new Set(["COMPLETED", "FAILED", "CANCELLED"]);

let jobs: readonly Job[] = load();
const listeners = new Set<() => void>();

function load(): readonly Job[] {
  try {
    return JSON.parse(sessionStorage.getItem(storageKey) ?? "[]") as Job[];
  } catch {
    return [];
  }
}

function save(next: readonly Job[]): void {
  jobs = next.slice(0, keptJobs);
  try {
    sessionStorage.setItem(storageKey, JSON.stringify(jobs));
  } catch {
    // A full storage costs the memory over a reload, nothing else.
  }
  for (const listener of listeners) listener();
}

export const allJobs = () => jobs;
export const findJob = (id: string) => jobs.find((job) => job.id === id);
export const isOver = (job: Job) => terminal.has(job.status);

export function useJobs(): readonly Job[] {
  return useSyncExternalStore((listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, allJobs);
}

/** Changes a job, and lists it first where it is new. */
export function put(id: string, change: Partial<Job>): void {
  if (findJob(id)) {
    save(jobs.map((job) => (job.id === id ? { ...job, ...change } : job)));
    return;
  }
  const fresh: Job = {
    id, title: "", status: "", progress: 0, count: "", canCancel: false, lastSeq: 0, lines: [], watch: "seen",
    problem: "",
  };
  save([{ ...fresh, ...change }, ...jobs]);
}

export function forget(id: string): void {
  save(jobs.filter((job) => job.id !== id));
}

const isFields = (value: unknown): value is Fields => typeof value === "object" && value !== null;
const text = (value: unknown) => (typeof value === "string" ? value : "");

function factsOf(source: Fields): Partial<Job> {
  const facts: Partial<Job> = {};
  if (source.status) facts.status = text(source.status);
  if (typeof source.progress === "number") facts.progress = source.progress;
  if (typeof source.done === "number" && typeof source.total === "number") {
    facts.count = `${source.done.toLocaleString("en")} of ${source.total.toLocaleString("en")}`;
  }
  if (typeof source.canCancel === "boolean") facts.canCancel = source.canCancel;
  const title = [text(source.kind), text(source.subjectLabel)].filter(Boolean).join(" · ");
  if (title) facts.title = title;
  return facts;
}

// A STATUS or SNAPSHOT is about the status; the others say in words what is going on.
function wordsOf(event: Fields): string {
  const words = isFields(event.log) ? text(event.log.message) : text(event.message) || text(event.step);
  const status = text(event.status);
  if (event.type === "SNAPSHOT") return status;
  if (event.type !== "STATUS") return words;
  const isSaid = !words || words.toLowerCase().includes(status.toLowerCase());
  return isSaid ? status : `${status} · ${words}`;
}

function lineOf(event: Fields, seq: number): Line {
  return {
    seq,
    type: text(event.type),
    at: text(event.at),
    text: wordsOf(event),
    percent: typeof event.progress === "number" ? event.progress : null,
  };
}

// Events by their number, each once, whatever order streams tell them in. A snapshot tells what has happened up to its
// number, so it stands behind the event of that number.
function withLine(lines: Line[], line: Line): Line[] {
  const rank = ({ seq, type }: Line) => 2 * seq + (type === "SNAPSHOT" ? 1 : 0);
  const place = lines.findIndex((one) => rank(one) >= rank(line));
  const next = lines[place];
  if (!next) return [...lines, line].slice(-keptLines);
  if (rank(next) === rank(line)) return lines;
  return [...lines.slice(0, place), line, ...lines.slice(place)].slice(-keptLines);
}

/**
 * Takes note of an event of jobProgress. One that was seen before (a stream that connected again) changes nothing, an
 * earlier one that was not is listed in its place. Left out is, `unlessFollowed`, what the panel's own stream tells too.
 */
export function recordEvent(
  result: ExecutionResult,
  variables: Record<string, unknown> = {},
  { unlessFollowed = false } = {},
): void {
  for (const event of Object.values(result.data ?? {})) {
    if (!isFields(event) || typeof event.seq !== "number") continue;
    const source = isFields(event.job) ? event.job : {};
    const id = text(source.id) || text(variables.jobId);
    if (!id) continue;
    const known = findJob(id);
    if (unlessFollowed && known?.watch === "live") continue;
    const isSnapshot = event.type === "SNAPSHOT";
    const isNew = !known || event.seq > known.lastSeq;
    const { title, canCancel } = factsOf(source);
    const change: Partial<Job> = {};
    // A replay tells of earlier moments: the card does not go back to them.
    if (isNew || isSnapshot) {
      Object.assign(change, factsOf(event), title && { title }, canCancel !== undefined && { canCancel });
      if (known) change.progress = Math.max(known.progress, change.progress ?? 0);
      if (known && isOver(known)) change.status = known.status;
      change.lastSeq = Math.max(event.seq, known?.lastSeq ?? 0);
    }
    // Each connection begins with a snapshot. Beside the events up to it, it would tell a reader nothing.
    if (!isSnapshot || isNew || !known.lines.length) change.lines = withLine(known?.lines ?? [], lineOf(event, event.seq));
    put(id, change);
  }
}

/**
 * Finds jobs in the answer of a query or mutation: `job`, `publishJob` and their like. Returns the ids of those that
 * are not over; what is over and was not known is left out.
 */
export function recordAnswer(result: ExecutionResult): string[] {
  const found = new Set<string>();
  const visit = (value: unknown, key: string, parent: Fields): void => {
    if (Array.isArray(value)) {
      for (const item of value) visit(item, key, parent);
    } else if (isFields(value)) {
      if (/^(job|\w+Job)$/.test(key) && typeof value.id === "string") {
        recordJob(value.id, value, parent);
        if (isGoingOn(value.id)) found.add(value.id);
      }
      for (const [name, child] of Object.entries(value)) visit(child, name, value);
    }
  };
  visit(result.data, "", {});
  return [...found];
}

function isGoingOn(id: string): boolean {
  const job = findJob(id);
  return job !== undefined && !isOver(job);
}

// In an answer the job stands beside or inside of what it works on, which has a title.
function recordJob(id: string, job: Fields, parent: Fields): void {
  const known = findJob(id);
  const facts = factsOf(job);
  if (!known && terminal.has(facts.status ?? "")) return;
  const subject = [parent, ...Object.values(parent)].find((one) => isFields(one) && text(one.title)) as Fields | undefined;
  if (!text(job.subjectLabel) && subject) facts.title = [text(job.kind), text(subject.title)].filter(Boolean).join(" · ");
  if (known?.title) delete facts.title;
  put(id, facts);
}
