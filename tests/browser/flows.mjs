// What a person does on the page; each flow returns what the page then shows.
export * from "./flows_captions.mjs";
export * from "./flows_ease.mjs";
export * from "./flows_files.mjs";
export * from "./flows_looks.mjs";
export * from "./flows_pictures.mjs";
export * from "./flows_player.mjs";
export * from "./flows_queue.mjs";
export * from "./flows_server.mjs";
export * from "./flows_sound.mjs";
