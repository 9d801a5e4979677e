// Streams of the Jobs panel's own: they go on while the user works in other tabs of GraphiQL, and after a reload.
import { stream } from "../transport";
import { allJobs, findJob, isOver, put, recordEvent } from "./store";

const document = `subscription FollowJob($jobId: ID!, $after: Int) {
  jobProgress(jobId: $jobId, after: $after) {
    seq at type message status progress step done total
    log { message }
    job { id kind subjectLabel }
  }
}`;

const running = new Map<string, () => void>();

/** Follows a job from the event after the last one seen; from its first where none was. */
export function follow(id: string): void {
  if (running.has(id)) return;
  const variables = { jobId: id, after: findJob(id)?.lastSeq ?? 0 };
  put(id, { watch: "live", problem: "" });
  const end = stream({ query: document, variables, operationName: "FollowJob" }, {}, {
    next(result) {
      recordEvent(result, variables);
      if (result.errors?.length) put(id, { problem: result.errors.map((error) => error.message).join("; ") });
    },
    error(error) {
      running.delete(id);
      put(id, { watch: "broken", problem: error.message });
    },
    complete() {
      running.delete(id);
      put(id, { watch: findJob(id)?.problem ? "broken" : "ended" });
    },
  });
  running.set(id, end);
}

export function unfollow(id: string): void {
  running.get(id)?.();
  running.delete(id);
  put(id, { watch: "seen" });
}

/** Goes on with what was followed before the page was loaded again. */
export function resume(): void {
  for (const job of allJobs()) {
    if (job.watch !== "live") continue;
    if (isOver(job)) put(job.id, { watch: "ended" });
    else follow(job.id);
  }
}
