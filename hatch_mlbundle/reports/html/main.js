// Reads the data and puts the panels into the page, those that have something to say.
"use strict";

{
  const { element } = MLB;
  const ORDER = [
    "budget",
    "map",
    "changes",
    "waterfall",
    "suggestions",
    "advice",
    "findings",
    "components",
    "layers",
    "packages",
    "kinds",
    "largest",
    "duplicates",
    "insides",
    "libraries",
    "models",
    "making",
  ];

  MLB.panels.map = (report) => (report.count ? MLB.parts.panel("map", "Map", element("div", { id: "map-place" })) : null);

  async function start() {
    const place = document.getElementById("report");
    let report;
    try {
      report = await MLB.load();
    } catch (error) {
      place.append(
        element(
          "p",
          { class: "failure" },
          `This browser cannot unpack the report (${error.message}). Chrome 123, Firefox 120 and Safari 17.5 can, and later ones.`,
        ),
      );
      return;
    }
    const main = element("main");
    place.append(MLB.panels.header(report), main);
    for (const name of ORDER) main.append(...[MLB.panels[name](report)].filter(Boolean));
    main.before(contents([...main.children]));
    place.append(MLB.panels.footer(report));
    if (report.count) MLB.mountMap(document.getElementById("map-place"));
    document.documentElement.dataset.ready = "";
  }

  // Links to the sections. They leave the address alone: its part after the # is the map's.
  function contents(sections) {
    const link = (section) => {
      const heading = section.querySelector("h2");
      const go = (event) => {
        event.preventDefault();
        section.scrollIntoView();
        heading.tabIndex = -1;
        heading.focus({ preventScroll: true });
      };
      return element("li", {}, element("a", { href: `#${section.id}`, onclick: go }, heading.textContent));
    };
    return element("nav", { class: "contents", "aria-label": "Sections" }, element("ul", {}, sections.map(link)));
  }

  start();
}
