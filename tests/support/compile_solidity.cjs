// Compile the Solidity file named by the first argument with npm's solc; imports come from node_modules of the checkout.
// Prints {contract: {abi, creation_code}} of that file.
const fs = require("fs");
const path = require("path");

const [source, root] = process.argv.slice(2);
const modules = path.join(root, "node_modules");
const solc = require(path.join(modules, "solc"));
const name = path.basename(source);

const input = {
  language: "Solidity",
  sources: { [name]: { content: fs.readFileSync(source, "utf8") } },
  settings: {
    evmVersion: "cancun",
    optimizer: { enabled: true, runs: 200 },
    outputSelection: { [name]: { "*": ["abi", "evm.bytecode.object"] } },
  },
};
const find = (wanted) => ({ contents: fs.readFileSync(path.join(modules, wanted), "utf8") });
const output = JSON.parse(solc.compile(JSON.stringify(input), { import: find }));
const errors = (output.errors || []).filter((error) => error.severity === "error");
if (errors.length) {
  process.stderr.write(errors.map((error) => error.formattedMessage).join("\n"));
  process.exit(1);
}
const contracts = Object.entries(output.contracts[name]).map(([contract, made]) => [
  contract,
  { abi: made.abi, creation_code: made.evm.bytecode.object },
]);
// The compiler's threads may keep the process alive: leave once everything is written.
process.stdout.write(JSON.stringify(Object.fromEntries(contracts)), () => process.exit(0));
