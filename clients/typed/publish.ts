// Publishes a plan and watches it to the end: what an application writes, with every type made from the schema.
import type { TypedDocumentNode } from "@graphql-typed-document-node/core";
import { createClient } from "graphql-ws";
import { print, type ExecutionResult } from "graphql";

import {
  FindJobDocument,
  JobProgressDocument,
  PlanDocument,
  PublishPlanDocument,
  ViewerDocument,
  type JobProgressSubscription,
} from "./generated";

interface Server {
  url: string;
  token: string;
}

async function ask<Data, Variables extends object>(
  server: Server,
  document: TypedDocumentNode<Data, Variables>,
  variables: Variables,
): Promise<Data> {
  const response = await fetch(server.url, {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: `Bearer ${server.token}` },
    body: JSON.stringify({ query: print(document), variables }),
  });
  const { data, errors } = (await response.json()) as ExecutionResult<Data>;
  if (!data) throw new Error(errors?.map((error) => error.message).join("; "));
  return data;
}

export async function publish(server: Server, planId: string): Promise<string> {
  const { publishPlan } = await ask(server, PublishPlanDocument, { input: { planId, openNow: false } });
  const refusal = publishPlan?.userErrors[0];
  if (refusal) throw new Error(`${refusal.code} at ${refusal.field.join(".")}: ${refusal.message}`);
  const id: string | undefined = publishPlan?.job?.id;
  if (!id) throw new Error("Nothing had to be published.");
  return id;
}

type Event = JobProgressSubscription["jobProgress"];

/** Calls back for each event; ends with the job's last one. */
export async function watch(server: Server, jobId: string, onEvent: (event: Event) => void): Promise<void> {
  const client = createClient({
    url: server.url.replace(/^http/, "ws"),
    connectionParams: { Authorization: `Bearer ${server.token}` },
  });
  const events = client.iterate<JobProgressSubscription>({
    query: print(JobProgressDocument),
    variables: { jobId, after: 0 },
  });
  for await (const { data } of events) {
    if (data) onEvent(data.jobProgress);
  }
}

export async function overview(server: Server): Promise<string[]> {
  const { viewer } = await ask(server, ViewerDocument, {});
  const plans = viewer.courses?.flatMap((course) => course.plans.nodes) ?? [];
  const tasks = viewer.tasks?.nodes ?? [];
  return [...plans.map((plan) => `${plan.title}: ${plan.state}`), ...tasks.map((task) => `${task.title}: ${task.dueAt}`)];
}

export async function targets(server: Server, planId: string): Promise<string[]> {
  const { plan } = await ask(server, PlanDocument, { id: planId });
  return (plan?.taskingPlans ?? []).map(({ target }) => {
    switch (target.__typename) {
      case "Course":
        return target.title;
      case "CourseClass":
      case "User":
        return target.name;
    }
  });
}

// Mistakes that the types must find.
export async function mistakes(server: Server): Promise<void> {
  // @ts-expect-error: the input has no such field
  await ask(server, PublishPlanDocument, { input: { plan: "x" } });
  // @ts-expect-error: the variable is needed
  await ask(server, FindJobDocument, {});
  const { job } = await ask(server, FindJobDocument, { id: "x" });
  // @ts-expect-error: a job that is not there, or not visible, is null
  job.status.toString();
  // @ts-expect-error: no such status
  if (job?.status === "DONE") return;
}
