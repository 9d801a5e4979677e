// Streams of the Jobs panel's own: they go on while the user works in other tabs of GraphiQL, and after a reload.
import { stream, type Headers } from "../transport";
import { allJobs, findJob, isOver, put, recordEvent } from "./store";

const document = `subscription FollowJob($jobId: ID!, $after: Int) {
  jobProgress(jobId: $jobId, after: $after) {
    seq at type message status progress step done total
    log { message }
    job { id kind subjectLabel canCancel }
  }
}`;

interface Running {
  end(): void;
}
const running = new Map<string, Running>();

/** How many jobs are followed now. */
export const followed = () => running.size;

/** Follows a job from the event after the last one seen, from its first where none was, until it has ended. */
export function follow(id: string, headers: Headers = {}): void {
  if (running.has(id)) return;
  const variables = { jobId: id, after: findJob(id)?.lastSeq ?? 0 };
  put(id, { watch: "live", problem: "" });
  // A stream that was stopped still says its last words; by then another may run for the same job.
  const own: Running = { end: () => undefined };
  const isCurrent = () => running.get(id) === own;
  running.set(id, own);
  own.end = stream({ query: document, variables, operationName: "FollowJob" }, headers, {
    next(result) {
      if (!isCurrent()) return;
      recordEvent(result, variables);
      // Where the connection breaks, the clients send these anew: it goes on after what has been seen.
      variables.after = findJob(id)?.lastSeq ?? variables.after;
      if (result.errors?.length) put(id, { problem: result.errors.map((error) => error.message).join("; ") });
    },
    error(error) {
      if (!isCurrent()) return;
      running.delete(id);
      put(id, { watch: "broken", problem: error.message });
    },
    complete() {
      if (!isCurrent()) return;
      running.delete(id);
      put(id, { watch: findJob(id)?.problem ? "broken" : "ended" });
    },
  });
}

export function unfollow(id: string): void {
  const stopped = running.get(id);
  running.delete(id);
  stopped?.end();
  put(id, { watch: "stopped" });
}

/** Goes on with what was followed before the page was loaded again. */
export function resume(): void {
  for (const job of allJobs()) {
    if (job.watch !== "live") continue;
    if (isOver(job)) put(job.id, { watch: "ended" });
    else follow(job.id);
  }
}
