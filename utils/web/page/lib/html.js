// Preact with templates instead of JSX, so that the files run in a browser as they are.
import { Component, Fragment, h, render } from "../vendor/preact.js";
import {
  useCallback, useEffect, useId, useLayoutEffect, useMemo, useRef, useState,
} from "../vendor/hooks.js";
import htm from "../vendor/htm.js";

export const html = htm.bind(h);
export {
  Component, Fragment, render, useCallback, useEffect, useId, useLayoutEffect, useMemo, useRef,
  useState,
};

// Renders a component again only when one of its properties is another object: a log has
// thousands of rows, of which an event changes one.
export function pure(view) {
  return class Pure extends Component {
    shouldComponentUpdate(next) {
      const names = Object.keys(next);
      return names.length !== Object.keys(this.props).length ||
        names.some((name) => next[name] !== this.props[name]);
    }

    render(props) {
      return view(props);
    }
  };
}
