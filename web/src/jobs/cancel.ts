// Cancelling a job from its card.
import { post } from "../transport";
import { recordAnswer } from "./store";

const document = `mutation CancelJob($jobId: ID!) {
  cancelJob(input: { jobId: $jobId }) {
    job { id status canCancel }
    userErrors { message }
  }
}`;

interface Payload {
  userErrors: { message: string }[];
}

/** Asks the server to cancel a job; why it was refused, or nothing. The card shows what becomes of the job. */
export async function cancel(id: string): Promise<string> {
  try {
    const answer = await post({ query: document, variables: { jobId: id }, operationName: "CancelJob" });
    recordAnswer(answer);
    const payload = answer.data?.cancelJob as Payload | null | undefined;
    return [...(answer.errors ?? []), ...(payload?.userErrors ?? [])].map(({ message }) => message).join("; ");
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
