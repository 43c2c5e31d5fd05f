# What an installation consists of. Everything finds everything else from the program's own place, so a folder that was
# installed to can be moved; the service alone names its prefix.
#
#   bin/                 sconce and its other names
#   lib/sconce/          plug-ins; python/ with the `ts` package
#   lib/systemd/system/  sconce.service
#   share/sconce/        settings to start from, the demo model
#   share/doc/sconce/    pages for operators, the licence
#   share/{bash-completion,zsh,man}/   what shells and man look for
if(NOT TARGET sconce)
    return()
endif()

set(SC_PROGRAM_NAMES torchserve torch-model-archiver torch-workflow-archiver)
foreach(name ${SC_PROGRAM_NAMES})
    add_custom_command(TARGET sconce POST_BUILD COMMAND ${CMAKE_COMMAND} -E create_symlink sconce ${name}
        WORKING_DIRECTORY ${CMAKE_BINARY_DIR} VERBATIM)
    list(APPEND links ${CMAKE_BINARY_DIR}/${name})
endforeach()
install(TARGETS sconce RUNTIME DESTINATION bin)
install(FILES ${links} DESTINATION bin)

# Plug-ins are the modules that are built beside the program.
foreach(list ${backend_lists})
    get_filename_component(dir ${list} DIRECTORY)
    get_property(targets DIRECTORY ${dir} PROPERTY BUILDSYSTEM_TARGETS)
    foreach(target ${targets})
        get_target_property(type ${target} TYPE)
        get_target_property(folder ${target} LIBRARY_OUTPUT_DIRECTORY)
        if(type STREQUAL "MODULE_LIBRARY" AND folder STREQUAL CMAKE_BINARY_DIR)
            install(TARGETS ${target} LIBRARY DESTINATION lib/sconce)
        endif()
    endforeach()
endforeach()
install(DIRECTORY ${CMAKE_BINARY_DIR}/python DESTINATION lib/sconce USE_SOURCE_PERMISSIONS
    PATTERN __pycache__ EXCLUDE PATTERN "*.pyc" EXCLUDE)

install(FILES deploy/config.properties DESTINATION share/sconce)
install(DIRECTORY models/demo-langid DESTINATION share/sconce/models)
install(FILES LICENSE docs/running.md docs/compatibility.md docs/contract.md docs/migrating-from-torchserve.md
    DESTINATION share/doc/sconce)

# Made of what the commands say of themselves, which a program under a sanitizer need not be started for.
if(NOT SCONCE_SANITIZE)
    add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/pages/stamp
        COMMAND sh tools/pages.sh $<TARGET_FILE:sconce> ${CMAKE_BINARY_DIR}/pages
        COMMAND ${CMAKE_COMMAND} -E touch ${CMAKE_BINARY_DIR}/pages/stamp
        DEPENDS sconce tools/pages.sh WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
        COMMENT "Completion and manual pages" VERBATIM)
    add_custom_target(pages ALL DEPENDS ${CMAKE_BINARY_DIR}/pages/stamp)
    add_dependencies(product pages)
    install(DIRECTORY ${CMAKE_BINARY_DIR}/pages/ DESTINATION share PATTERN stamp EXCLUDE)
endif()

# The prefix is known when it is installed, which may be more than once from one build. SC_SERVICE_PREFIX in the
# environment: where a package will be unpacked.
install(CODE "
    set(prefix \"\$ENV{SC_SERVICE_PREFIX}\")
    if(NOT prefix)
        get_filename_component(prefix \"\${CMAKE_INSTALL_PREFIX}\" ABSOLUTE)
    endif()
    file(MAKE_DIRECTORY \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/lib/systemd/system\")
    configure_file(\"${CMAKE_SOURCE_DIR}/deploy/sconce.service.in\"
        \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/lib/systemd/system/sconce.service\" @ONLY)")
