// What the official parser has to say of AsyncAPI documents, as JSON lines. First the folder with the tools, then the files.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [tools, ...files] = process.argv.slice(2);
const { Parser } = createRequire(`${tools}/`)("@asyncapi/parser");
const parser = new Parser();
for (const file of files) {
  const { diagnostics } = await parser.parse(readFileSync(file, "utf8"));
  for (const { code, path } of diagnostics) console.log(JSON.stringify({ file, code, path: path.join(".") }));
}
