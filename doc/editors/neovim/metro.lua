-- Metro specifications in Neovim 0.11 and later.
-- Put this file into ~/.config/nvim/plugin/, and `mstore` on the PATH.

-- A file is a specification if there is a metro.conf in its folder or above. Other .conf files stay what
-- Neovim takes them for.
vim.filetype.add({
  filename = { ["metro.conf"] = "metro", ["metro.lock"] = "metro" },
  pattern = {
    [".*%.conf"] = {
      function(path)
        if vim.fs.root(path, "metro.conf") then
          return "metro"
        end
      end,
      { priority = 10 },
    },
  },
})

vim.lsp.config("metro", {
  cmd = { "mstore", "lsp" },
  filetypes = { "metro" },
  root_markers = { "metro.conf", ".git" },
  -- The target to look at; without it one that has the document is chosen.
  -- init_options = { definitions = { ["target"] = "stage3", ["target/subarch"] = "corei7" } },
})
vim.lsp.enable("metro")

vim.api.nvim_create_autocmd("FileType", {
  pattern = "metro",
  callback = function(event)
    vim.bo[event.buf].commentstring = "# %s"
    -- The syntax, for those without another highlighter.
    vim.cmd([[
      syntax clear
      syntax match metroName /^\s*[^][:# \t][^][: \t]*\ze:\(\s\|$\)/
      syntax match metroComment /\(^\|\s\)\zs#.*$/
      syntax region metroAnnotation start=/^\s*\[/ end=/\]/ oneline contains=metroKeyword,metroReference
      syntax keyword metroKeyword section when collect option is in contained
      syntax region metroBlock matchgroup=metroBracket start=/^\s*\S*:\s\+\[\s*\(\s#.*\)\?$/ end=/^\s*\]\s*$/ contains=metroReference,metroInclusion fold
      syntax match metroReference /\$\[[^][]*\]/
      syntax match metroInclusion /^\s*\$\[\[.*\]\]\s*$/ contained contains=metroReference
      highlight default link metroName Identifier
      highlight default link metroComment Comment
      highlight default link metroAnnotation PreProc
      highlight default link metroKeyword Keyword
      highlight default link metroBlock String
      highlight default link metroBracket Function
      highlight default link metroReference Special
      highlight default link metroInclusion Include
    ]])
  end,
})
