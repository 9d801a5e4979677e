// The documents of a page that shows a plan, its learners' tasks and its job; `relay-compiler` reads them.
import { graphql } from "relay-runtime";

export const query = graphql`
  query PlanPageQuery($id: ID!) {
    plan(id: $id) {
      ...PlanPage_plan
      ...PlanPage_tasks
    }
  }
`;

export const plan = graphql`
  fragment PlanPage_plan on TaskPlan {
    title
    state
    publishJob {
      ...PlanPage_job
    }
  }
`;

export const job = graphql`
  fragment PlanPage_job on Job {
    id
    status
    progress
    lastSeq
  }
`;

export const tasks = graphql`
  fragment PlanPage_tasks on TaskPlan
  @refetchable(queryName: "PlanPageTasksQuery")
  @argumentDefinitions(first: { type: "Int", defaultValue: 20 }, after: { type: "String" }) {
    tasks(first: $first, after: $after) @connection(key: "PlanPage_tasks") {
      edges {
        node {
          id
          title
          status
          assignedTo {
            name
          }
        }
      }
    }
  }
`;

export const progress = graphql`
  subscription PlanPageProgressSubscription($jobId: ID!, $after: Int) {
    jobProgress(jobId: $jobId, after: $after) {
      seq
      status
      progress
      job {
        ...PlanPage_job
      }
    }
  }
`;

export const publish = graphql`
  mutation PlanPagePublishMutation($input: PublishPlanInput!) {
    publishPlan(input: $input) {
      plan {
        ...PlanPage_plan
      }
      userErrors {
        code
        field
        message
      }
    }
  }
`;
