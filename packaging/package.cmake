# Packages: `cpack` makes the .deb, the target `bundle` a .tar.gz with its own linker and libraries.

install(FILES ${CMAKE_SOURCE_DIR}/LICENSE DESTINATION share/doc/kfhost RENAME copyright)
install(FILES ${CMAKE_SOURCE_DIR}/README.md DESTINATION share/doc/kfhost)
install(FILES ${CMAKE_SOURCE_DIR}/scripts/kale/jupyter/kfhost.py DESTINATION lib/python3/dist-packages)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/docs/guide DESTINATION share/doc/kfhost)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/examples DESTINATION share/doc/kfhost)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME kfhost)
set(CPACK_PACKAGE_VENDOR kfhost)
set(CPACK_PACKAGE_CONTACT "kfhost developers <kfhost@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "scripting host for Kubernetes, Kubeflow Pipelines, Katib and Istio")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION utils)
# libcurl is loaded when it is first used, so no tool that reads the binary can find it.
set(CPACK_DEBIAN_PACKAGE_DEPENDS "libc6 (>= 2.36), libssl3, libcurl4, ca-certificates")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "python3, uidmap")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${CMAKE_SOURCE_DIR}/packaging/prerm)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "less, kubernetes-client")
include(CPack)

add_executable(launcher EXCLUDE_FROM_ALL packaging/launcher.c)
target_compile_definitions(launcher PRIVATE _GNU_SOURCE)
target_link_options(launcher PRIVATE -static)
set_target_properties(launcher PROPERTIES OUTPUT_NAME kfhost RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/launcher)

find_library(curl_SHARED NAMES curl REQUIRED)  # loaded when it is first used
set(bundle kfhost-${PROJECT_VERSION}-linux-${CMAKE_SYSTEM_PROCESSOR})
add_custom_target(bundle
  COMMAND ${CMAKE_COMMAND} -DNAME=${bundle} -DPROGRAM=$<TARGET_FILE:kfhost> -DLAUNCHER=$<TARGET_FILE:launcher>
          -DCURL=${curl_SHARED}
          -DSOURCE=${CMAKE_SOURCE_DIR} -DSTRIP=${CMAKE_STRIP} -P ${CMAKE_SOURCE_DIR}/packaging/bundle.cmake
  WORKING_DIRECTORY ${CMAKE_BINARY_DIR}
  DEPENDS kfhost launcher)
