"""Views of Records: a data frame, a terminal table, Markdown, HTML, pictures, and two runs compared."""
