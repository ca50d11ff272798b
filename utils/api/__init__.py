"""What endpoints share: validation, answers, OpenAPI, middleware."""
