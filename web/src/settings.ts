// What this page remembers of its user: the token for as long as the browser tab lives, the transport for good.
import { useSyncExternalStore } from "react";

export type Transport = "websocket" | "sse";

interface Setting<T extends string> {
  get(): T;
  set(value: T): void;
  use(): T;
}

function setting<T extends string>(storage: Storage, key: string, initial: T): Setting<T> {
  let value = (storage.getItem(key) ?? initial) as T;
  const listeners = new Set<() => void>();
  const get = () => value;
  const subscribe = (listener: () => void) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  };
  return {
    get,
    set(next) {
      if (next === value) return;
      value = next;
      if (next) storage.setItem(key, next);
      else storage.removeItem(key);
      for (const listener of listeners) listener();
    },
    use: () => useSyncExternalStore(subscribe, get),
  };
}

export const token = setting<string>(sessionStorage, "holdfast:token", "");
export const transport = setting<Transport>(localStorage, "holdfast:transport", "websocket");
