import "./workers";

import { explorerPlugin } from "@graphiql/plugin-explorer";
import { HISTORY_PLUGIN } from "@graphiql/plugin-history";
import { GraphiQL } from "graphiql";
import { createRoot } from "react-dom/client";

import "@graphiql/react/font/fira-code.css";
import "@graphiql/react/font/roboto.css";
import "@graphiql/react/style.css";
import "@graphiql/plugin-doc-explorer/style.css";
import "@graphiql/plugin-history/style.css";
import "graphiql/graphiql.css";
import "@graphiql/plugin-explorer/style.css";
import "./style.css";

import { examples } from "./examples";
import { fetcher } from "./fetcher";
import { resume } from "./jobs/follow";
import { jobsPlugin } from "./jobs/JobsPanel";
import { SystemTheme } from "./SystemTheme";
import { TopBar } from "./TopBar";

const plugins = [explorerPlugin(), jobsPlugin, HISTORY_PLUGIN];

createRoot(document.getElementById("graphiql")!).render(
  <GraphiQL
    fetcher={fetcher}
    plugins={plugins}
    visiblePlugin={jobsPlugin}
    defaultTabs={examples}
    defaultEditorToolsVisibility="variables"
    inputValueDeprecation
    schemaDescription
    showPersistHeadersSettings={false}
  >
    <GraphiQL.Logo>
      <TopBar />
      <SystemTheme />
    </GraphiQL.Logo>
  </GraphiQL>,
);
resume();
