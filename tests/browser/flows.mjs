// What a person does on the page; each flow returns what the page then shows.
export * from "./flows_ease.mjs";
export * from "./flows_files.mjs";
export * from "./flows_pictures.mjs";
export * from "./flows_sound.mjs";
