// What GraphiQL does with the operations of its tabs; the jobs that they tell of go to the Jobs panel.
import type { Fetcher, FetcherParams } from "@graphiql/toolkit";
import { getOperationAST, parse, type ExecutionResult, type OperationTypeNode } from "graphql";

import { follow, followed } from "./jobs/follow";
import { recordAnswer, recordEvent } from "./jobs/store";
import { post, stream, type Headers, type Request, type Sink } from "./transport";

// Each is a stream of its own; over SSE it takes one of the six connections that a browser opens to a server.
const followedByItself = 3;

interface Prepared {
  request: Request;
  type: OperationTypeNode | undefined;
}

// GraphiQL learns the name of the operation a moment after its text: just after a change of tabs it is still that of
// the tab before. So a name that the document does not have is left out.
function prepare({ query, variables, operationName }: FetcherParams): Prepared {
  const request: Request = { query };
  if (variables) request.variables = variables as Record<string, unknown>;
  let operation;
  try {
    const document = parse(query);
    operation = getOperationAST(document, operationName) ?? getOperationAST(document);
    if (operation) operationName = operation.name?.value ?? null;
  } catch {
    // Not a document: the server says what is wrong with it.
  }
  if (operationName) request.operationName = operationName;
  return { request, type: operation?.operation };
}

export const fetcher: Fetcher = async (params, options) => {
  const { request, type } = prepare(params);
  const headers = (options?.headers ?? {}) as Headers;
  if (type !== "subscription") {
    const answer = await post(request, headers);
    const asked = recordAnswer(answer);
    // What one has asked for oneself is worth watching; a query may find any number of others.
    if (type === "mutation") {
      for (const id of asked) if (followed() < followedByItself) follow(id, headers);
    }
    return answer;
  }
  return {
    subscribe(sink: Sink) {
      const next = (result: ExecutionResult) => {
        recordEvent(result, request.variables, { unlessFollowed: true });
        sink.next(result);
      };
      return { unsubscribe: stream(request, headers, { ...sink, next }) };
    },
  } as unknown as ReturnType<Fetcher>;
};
