// Finds what one may choose from: repositories of projects and of GitHub, and their branches.
import { get } from "./api.js";
import { config } from "./config.js";
import { useEffect, useState } from "./html.js";

const TOKEN_HEADER = "X-GitHub-Token";

// Asked only with a token that is typed or stored: without one GitHub lists nothing.
async function ofGitHub(token, signal) {
  const { user } = await get("/users/me", { signal });
  if (!token && !user.has_github_token) return [];
  const headers = token ? { [TOKEN_HEADER]: token } : {};
  const { repositories } = await get("/github/repos", { signal, headers });
  return repositories.filter((one) => !one.is_archived)
    .map((one) => ({ url: one.html_url, name: one.full_name }));
}

export function useRepositories(projects, token) {
  const [found, setFound] = useState([]);
  useEffect(() => {
    const stop = new AbortController();
    // Without the list an address is typed, as for every other host.
    ofGitHub(token, stop.signal).then(setFound, () => {});
    return () => stop.abort();
  }, [token]);
  const own = projects.map((one) => ({ url: one.repo_url, name: one.name }));
  const known = new Set(own.map((one) => one.url));
  return [...own, ...found.filter((one) => !known.has(one.url))];
}

function gitHubName(address) {
  const parts = /^https?:\/\/([^/]+)\/([\w.-]+)\/([\w.-]+?)(?:\.git)?\/?$/.exec(address.trim());
  return parts && parts[1].toLowerCase() === config.githubHost ? `${parts[2]}/${parts[3]}` : null;
}

// Returns the branches of the last repository that was asked for, and a function that asks.
export function useBranches(repository, token) {
  const [found, setFound] = useState({ name: null, branches: [] });
  const name = gitHubName(repository);
  async function load() {
    if (!name || found.name === name) return;
    setFound({ name, branches: [] });
    const headers = token ? { [TOKEN_HEADER]: token } : {};
    const answer = await get(`/github/repos/${name}/branches`, { headers }).catch(() => null);
    setFound((old) => (old.name === name ? { name, branches: answer?.branches ?? [] } : old));
  }
  return { branches: found.name === name ? found.branches : [], load };
}
