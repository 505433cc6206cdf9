// A browser lets no page of a folder read the search's index: there the search is left out.
document.documentElement.classList.toggle("from-folder", location.protocol === "file:")
