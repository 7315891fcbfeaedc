/** The API, field by field, as Swagger UI shows it. */

SwaggerUIBundle({
  url: new URL("../../openapi.json", document.baseURI).href,
  dom_id: "#description",
  deepLinking: true,
  validatorUrl: null, // or it sends the description to a host of its own
});
