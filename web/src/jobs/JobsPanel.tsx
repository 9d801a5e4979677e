import type { GraphiQLPlugin } from "@graphiql/react";
import { useEffect, useRef } from "react";

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
      {lines.map((line, index) => (
        <li key={index} data-seq={line.seq} data-type={line.type}>
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

function JobCard({ job }: { job: Job }) {
  const isLive = job.watch === "live";
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
      <div className="hf-facts">
        <span>{job.count}</span>
        <span className="hf-buttons">
          {isLive ? (
            <button type="button" onClick={() => unfollow(job.id)}>Stop</button>
          ) : (
            !isOver(job) && <button type="button" onClick={() => follow(job.id)}>Follow</button>
          )}
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
