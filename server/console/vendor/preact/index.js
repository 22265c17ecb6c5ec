// What the console takes from preact and htm, in one place.

import htm from "./htm.js";
import { h } from "./preact.js";

export { Component, render } from "./preact.js";
export { useEffect, useRef, useState } from "./hooks.js";
export const html = htm.bind(h);
