// Loads libraries that are no modules, and only when something needs them.
const loading = new Map();

export function loadScript(name) {
  if (!loading.has(name)) {
    loading.set(name, new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = new URL(`../vendor/${name}`, import.meta.url).href;
      script.onload = resolve;
      script.onerror = () => {
        loading.delete(name);
        reject(new Error("A part of the page could not be loaded. Reload the page."));
      };
      document.head.append(script);
    }));
  }
  return loading.get(name);
}
