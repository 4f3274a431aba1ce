-- Metro specifications in Neovim 0.7 and later.
-- Put this file into ~/.config/nvim/plugin/, and `mstore` on the PATH.

-- The nearest metro.conf in the folder of a file or above.
local function entry(path)
  local found = vim.fn.findfile("metro.conf", vim.fn.fnamemodify(path, ":p:h") .. ";")
  return found ~= "" and vim.fn.fnamemodify(found, ":p") or nil
end

-- A file is a specification if there is a metro.conf in its folder or above. Other .conf files stay what
-- Neovim takes them for.
vim.api.nvim_create_autocmd({ "BufRead", "BufNewFile" }, {
  pattern = { "*.conf", "*.spec", "metro.lock" },
  callback = function(event)
    if entry(event.match) then
      vim.bo[event.buf].filetype = "metro"
    end
  end,
})

local server = {
  name = "metro",
  cmd = { "mstore", "lsp" },
  -- The target to look at; without it one that has the document is chosen.
  -- init_options = { definitions = { ["target"] = "stage3", ["target/subarch"] = "corei7" } },
}

-- All files of one folder share a server.
local clients = {}
local function start(buffer)
  local main = entry(vim.api.nvim_buf_get_name(buffer))
  local root = main and vim.fn.fnamemodify(main, ":h") or vim.fn.getcwd()
  local config = vim.tbl_extend("force", server, { root_dir = root })
  if vim.lsp.start then
    vim.lsp.start(config, { bufnr = buffer })
    return
  end
  clients[root] = clients[root] or vim.lsp.start_client(config)
  if clients[root] then
    vim.lsp.buf_attach_client(buffer, clients[root])
  end
end

vim.api.nvim_create_autocmd("FileType", {
  pattern = "metro",
  callback = function(event)
    start(event.buf)
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
