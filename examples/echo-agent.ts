import { type AgentContext, AskAgentCommand, type GatewayCommand, GatewayWorker } from 'byclaw-gateway-sdk'

export class EchoAgent extends GatewayWorker {
  getCapabilities() {
    return ['echo']
  }

  async processCommand(command: GatewayCommand, context: AgentContext) {
    if (!(command instanceof AskAgentCommand)) return
    await context.emitChunk(`You said: ${command.content}`)
    return { heard: command.content }
  }
}
