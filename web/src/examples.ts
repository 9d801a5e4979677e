// The tabs of a first visit: who am I, publish a plan, watch it.
interface Example {
  query: string;
  variables?: string;
}

const viewer = `# Who asks, and their plans.
# Paste a token at the top right:
# \`make up\` prints some.
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

const publish = `# Publishes a plan: the job in the
# answer makes all its tasks.
# Variables: the id of a plan.
mutation PublishPlan(
  $input: PublishPlanInput!
) {
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

const progress = `# Every event of a job, live.
# Variables: the job's id; after is
# the seq of your last event.
subscription JobProgress(
  $jobId: ID!
  $after: Int
) {
  jobProgress(
    jobId: $jobId
    after: $after
  ) {
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
      subjectLabel
    }
  }
}
`;

const asJson = (value: unknown) => JSON.stringify(value, null, 2);

// Every non-null property is there: the editor underlines an input that lacks one, though the schema has its default.
export const examples: Example[] = [
  { query: viewer },
  { query: publish, variables: asJson({ input: { planId: "", openNow: false } }) },
  { query: progress, variables: asJson({ jobId: "", after: 0 }) },
];
