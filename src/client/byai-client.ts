import { normalizeRichContent, type RichMessage } from '../protocol/rich-content.ts'
import { GatewayClient } from './client.ts'
import type { SendMessageRequest } from './request.ts'
import type { AnyRequest } from './sender.ts'

/** A message whose content may be rich: one message, several, or plain text. */
export interface RichMessageRequest extends Omit<SendMessageRequest, 'content'> {
  readonly content: string | RichMessage | readonly RichMessage[]
}

/** A {@link GatewayClient} that takes rich messages and sends them in their full form, always as an array. */
export class ByaiGatewayClient extends GatewayClient {
  protected override prepare(request: AnyRequest): AnyRequest {
    const { content } = request
    if (('target' in request && request.target !== undefined) || typeof content !== 'object' || content === null)
      return request
    const messages = Array.isArray(content) ? content : [content]
    return { ...request, content: normalizeRichContent(messages) }
  }
}
