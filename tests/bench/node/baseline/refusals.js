// The contract's refusals as errors that Fastify's error handler answers.
export class Refusal extends Error {
  constructor(status, error, message, retryable = false) {
    super(message);
    this.statusCode = status;
    this.body = { error, message, retryable };
  }
}

export const soldOut = () => new Refusal(410, "SOLD_OUT", "No allocations remaining for this drop");
export const receiptUsed = () => new Refusal(409, "RECEIPT_USED", "This receipt was used by another user");
export const invalidReceipt = (message) => new Refusal(422, "INVALID_RECEIPT", message);
export const notFound = (message) => new Refusal(404, "NOT_FOUND", message);
export const unauthorized = (message) => new Refusal(401, "UNAUTHORIZED", message);
export const conflict = (message) => new Refusal(409, "CONFLICT", message);
export const retryable = () => new Refusal(500, "RETRYABLE", "The request could not be finished; send it again", true);
