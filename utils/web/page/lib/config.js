// What the server tells the page about itself, in the page's own text.
export const config = JSON.parse(document.querySelector('meta[name="page-config"]').content);

export function agentOf(name) {
  return config.agents.find((agent) => agent.name === name);
}

export function agentTitle(name) {
  return agentOf(name)?.title ?? name;
}
