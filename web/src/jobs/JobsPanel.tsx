import type { GraphiQLPlugin } from "@graphiql/react";
import { useEffect, useRef, useState } from "react";

import { cancel } from "./cancel";
import { follow, unfollow } from "./follow";
import { forget, isOver, useJobs, type Job, type Line } from "./store";

function clock(at: string): string {
  if (!at) return "";
  return new Date(at).toLocaleTimeString("en-GB", { hour12: false });
}

function Lines({ lines }: { lines: readonly Line[] }) {
  const list = useRef<HTMLOListElement>(null);
  useEffect(() => {
    list.current?.scrollTo({ top: list.current.scrollHeight });
  }, [lines.length]);
  return (
    <ol className="hf-lines" ref={list}>
      {lines.map((line) => (
        <li key={`${line.seq} ${line.type}`} data-seq={line.seq} data-type={line.type}>
          <span className="hf-seq">{line.seq}</span>
          <span className={`hf-type hf-type-${line.type.toLowerCase()}`}>{line.type.toLowerCase()}</span>
          <span className="hf-text" title={line.text}>{line.text}</span>
          <span className="hf-percent">{line.percent === null ? "" : `${line.percent} %`}</span>
          <time>{clock(line.at)}</time>
        </li>
      ))}
    </ol>
  );
}

// Cancelling cannot be taken back, so it asks first.
function Cancel({ job }: { job: Job }) {
  const [isAsking, setIsAsking] = useState(false);
  const [refusal, setRefusal] = useState("");
  if (isOver(job)) return null;
  const ask = () => {
    setRefusal("");
    setIsAsking(true);
  };
  const confirm = () => {
    setIsAsking(false);
    void cancel(job.id).then(setRefusal);
  };
  return (
    <>
      {job.canCancel && !isAsking && (
        <button type="button" onClick={ask}>Cancel job…</button>
      )}
      {job.canCancel && isAsking && (
        <span className="hf-question" role="group" aria-label="Cancel this job?">
          Cancel this job?
          <button type="button" className="hf-danger" onClick={confirm}>Yes, cancel it</button>
          <button type="button" autoFocus onClick={() => setIsAsking(false)}>No</button>
        </span>
      )}
      {refusal && <p className="hf-problem" role="alert">{refusal}</p>}
    </>
  );
}

function JobCard({ job }: { job: Job }) {
  const isLive = job.watch === "live";
  const isLeft = !isLive && !isOver(job);
  return (
    <article className="hf-job" data-job={job.id} data-watch={job.watch} data-status={job.status}>
      <header>
        <strong>{job.title || "Job"}</strong>
        <span className={`hf-status hf-status-${job.status.toLowerCase()}`}>{job.status}</span>
      </header>
      <div className="hf-progress">
        <progress max={100} value={job.progress} aria-label="Progress in percent" />
        <span>{job.progress} %</span>
      </div>
      {(job.count || isLeft) && (
        <div className="hf-facts">
          <span>{job.count}</span>
          {isLeft && <em className="hf-left">{job.watch === "seen" ? "not followed" : "not followed any more"}</em>}
        </div>
      )}
      <div className="hf-facts">
        <span className="hf-buttons">
          {isLive && <button type="button" onClick={() => unfollow(job.id)}>Stop following</button>}
          {isLeft && <button type="button" onClick={() => follow(job.id)}>Follow</button>}
          <Cancel job={job} />
          {!isLive && <button type="button" onClick={() => forget(job.id)}>Forget</button>}
        </span>
      </div>
      {job.problem && <p className="hf-problem">{job.problem}</p>}
      {job.lines.length > 0 && <Lines lines={job.lines} />}
    </article>
  );
}

function JobsPanel() {
  const jobs = useJobs();
  return (
    <section className="hf-jobs" aria-label="Jobs">
      <h2>Jobs</h2>
      {jobs.length === 0 && (
        <p>
          A job that an answer or a stream tells of is listed here; that of a mutation is followed until it ends, with
          its events as they arrive. Publish a plan (the tab <em>PublishPlan</em>); a reload of this page loses nothing.
        </p>
      )}
      {jobs.map((job) => <JobCard key={job.id} job={job} />)}
    </section>
  );
}

function JobsIcon() {
  return (
    <svg viewBox="0 0 24 24" fill="none" stroke="currentColor" strokeWidth="1.5" aria-hidden="true">
      <path d="M4 6.5h16M4 12h16M4 17.5h16" strokeLinecap="round" opacity="0.45" />
      <path d="M4 6.5h11M4 12h6M4 17.5h14" strokeLinecap="round" strokeWidth="2.5" />
    </svg>
  );
}

export const jobsPlugin: GraphiQLPlugin = { title: "Jobs", icon: JobsIcon, content: JobsPanel };
