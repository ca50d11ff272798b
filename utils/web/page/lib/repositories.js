// Finds what one may choose from: repositories of projects and of GitHub, and their branches.
import { get } from "./api.js";
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

// Returns the branches of the last repository that was asked for, and a function that asks.
export function useBranches(repository, token) {
  const [found, setFound] = useState({ question: null, branches: [] });
  const address = repository.trim();
  const question = `${address} ${token}`;
  async function load() {
    if (!address || found.question === question) return;
    setFound({ question, branches: [] });
    const headers = token ? { [TOKEN_HEADER]: token } : {};
    const path = `/branches?${new URLSearchParams({ repo_url: address })}`;
    // Without the list a branch is typed; the task says what is wrong with the address.
    const answer = await get(path, { headers }).catch(() => null);
    setFound((old) => old.question === question
      ? { question, branches: answer?.branches ?? [], byDefault: answer?.default_branch } : old);
  }
  return found.question === question ? { ...found, load } : { branches: [], load };
}
