// The tabs of a first visit: who am I, publish a plan, watch it.
interface Example {
  query: string;
  variables?: string;
}

const viewer = `# Who asks, and the plans to work with.
# First paste a token at the top right:
# \`make up\` prints one per demo role.
query Viewer {
  viewer {
    user {
      id
      name
    }
    roles
    courses {
      id
      title
      plans(first: 10) {
        nodes {
          id
          title
          state
          publishJob {
            id
            status
            lastSeq
          }
        }
      }
    }
  }
}
`;

const publish = `# Publishes a plan. The answer has a job:
# a worker makes each learner's task.
# Variables: the id of a plan.
mutation PublishPlan($input: PublishPlanInput!) {
  publishPlan(input: $input) {
    plan {
      id
      title
      state
    }
    job {
      id
      kind
      status
      lastSeq
    }
    userErrors {
      code
      field
      message
    }
  }
}
`;

const progress = `# Every event of a job, live, to the last.
# Variables: the id of a job, and the seq of
# the last event you have (0: send all).
subscription JobProgress($jobId: ID!, $after: Int) {
  jobProgress(jobId: $jobId, after: $after) {
    seq
    at
    type
    message
    status
    progress
    step
    done
    total
    job {
      id
      kind
    }
  }
}
`;

const asJson = (value: unknown) => JSON.stringify(value, null, 2);

export const examples: Example[] = [
  { query: viewer },
  { query: publish, variables: asJson({ input: { planId: "" } }) },
  { query: progress, variables: asJson({ jobId: "", after: 0 }) },
];
